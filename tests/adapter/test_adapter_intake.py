"""Broken, hostile and inconsistent adapters are errors of three lines, before PEFT reads anything."""

import collections
import dataclasses
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from ship import finished

from lowmed import nano
from lowmed.adapter import config
from lowmed.adapter.extra import extra_weights
from lowmed.adapter.fit import layer_problems, require_complete
from lowmed.adapter.intake import Adapter, read_adapter
from lowmed.errors import LowmedError, RecipeError, RunError
from lowmed.ship.adapter import base_shapes
from lowmed.ship.base_model import base_tensors

SHAPES = base_shapes(base_tensors(nano.folder()))
Change = Callable[[Path], object]
FACTORS = finished.factors(0.02)
FIRST = "base_model.model.model.language_model.layers.0.self_attn.q_proj"


def made(folder: Path, **fields: Any) -> Path:
    finished.adapter(folder, FACTORS, **fields)
    return folder


def refused(folder: Path, message: str, kind: type[LowmedError] = RunError) -> None:
    with pytest.raises(kind, match=message) as raised:
        require_complete(read_adapter(str(folder)), SHAPES)
    what, where, fix = str(raised.value).splitlines()
    assert where.startswith("  where  ")
    assert fix.startswith("  fix    ")
    assert len(what) < 400


def test_every_field_of_the_installed_peft_is_known() -> None:
    known = config.HARMLESS | config.SUPPORTED | config.REFUSED.keys()
    assert {field.name for field in dataclasses.fields(LoraConfig)} <= known
    assert not config.HARMLESS & config.SUPPORTED
    assert not config.HARMLESS & config.REFUSED.keys()


def test_a_default_config_of_the_installed_peft_is_accepted(tmp_path: Path) -> None:
    fields = {"r": finished.RANK, "lora_alpha": 16, "target_modules": "all-linear", "exclude_modules": ".*visual.*"}
    LoraConfig(**fields).save_pretrained(str(tmp_path))
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    require_complete(read_adapter(str(made(tmp_path, **written))), SHAPES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"new_trick": {"a": 1}}, "does not know the field `new_trick`"),
        ({"peft_type": "IA3"}, "its type is IA3"),
        ({"bias": "all"}, "biases of the base"),
        ({"init_lora_weights": "loftq"}, "LoftQ"),
        ({"init_lora_weights": "corda"}, "CorDA"),
        ({"init_lora_weights": "lora_ga"}, "LoRA-GA"),
        ({"init_lora_weights": "something"}, "`init_lora_weights` is unknown: something"),
        ({"init_lora_weights": ["pissa"]}, "`init_lora_weights` is unknown"),
        ({"layer_replication": [[0, 2]]}, "repeated layers"),
        ({"target_parameters": ["w"]}, "parameters that are no layers"),
        ({"use_qalora": True}, "QA-LoRA"),
        ({"megatron_config": {"a": 1}}, "Megatron"),
        ({"r": 4}, "has rank 8 in the weights and 4 in the config"),
        ({"r": "8"}, "`r` is '8', not a positive integer"),
        ({"r": True}, "`r` is True"),
        ({"r": 0}, "`r` is 0"),
        ({"lora_alpha": None}, "`lora_alpha` is None"),
        ({"lora_alpha": float("nan")}, "`lora_alpha` is nan"),
        ({"use_rslora": "yes"}, "`use_rslora` is 'yes'"),
        ({"rank_pattern": ["q_proj"]}, "`rank_pattern` is "),
        ({"rank_pattern": {"q_proj": 16}}, "has rank 8 in the weights and 16 in the config"),
        ({"rank_pattern": {"(": 16}}, "is no regular expression"),
        ({"rank_pattern": {"\\": 16}}, "is no regular expression"),
        ({"alpha_pattern": {"q_proj": "a"}}, "`alpha_pattern: q_proj` is 'a'"),
        ({"target_modules": 5}, "`target_modules` is 5"),
        ({"target_modules": [5]}, "`target_modules` is "),
        ({"target_modules": "*"}, "is no regular expression"),
        ({"target_modules": ["q_proj"]}, "differ in 24 layers, first: .* is not named by the config"),
        ({"target_modules": "all-linear"}, "differ in 14 layers, first: model.visual.* is missing"),
        ({"layers_to_transform": "a", "target_modules": ["q_proj"]}, "`layers_to_transform` is 'a'"),
        ({"layers_pattern": 3}, "`layers_pattern` is 3"),
        ({"use_dora": True}, "has no magnitude of DoRA"),
    ],
)
def test_a_config_that_lowmed_cannot_follow_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    refused(made(tmp_path, **fields), message)


@pytest.mark.parametrize(
    "content",
    ["[]", "5", "null", "{", '"a"', "[" * 100_000, "{}", '{"peft_type": ["LORA"]}', "\xff", '{"a": "\\ud800"}'],
)
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    made(tmp_path)
    (tmp_path / "adapter_config.json").write_bytes(content.encode("latin-1"))
    refused(tmp_path, "the adapter")


def test_a_config_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    made(tmp_path)
    with (tmp_path / "adapter_config.json").open("wb") as file:
        file.truncate(config.MAX_BYTES + 1)
    refused(tmp_path, "16,777,217 bytes")


@pytest.mark.parametrize(
    ("key", "expression"),
    [
        ("target_modules", "(.*)*(.*)*(.*)*Z"),
        ("target_modules", ".*" * 40 + "Z"),
        ("exclude_modules", "(.*)*(.*)*(.*)*Z"),
        ("rank_pattern", "(.*)*(.*)*(.*)*Z"),
        ("layers_pattern", ".*" * 40 + "Z"),
    ],
)
def test_an_expression_that_takes_years_is_stopped(
    tmp_path: Path, key: str, expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowmed.adapter.patterns.SECONDS", 1)
    value = {expression: 8} if key == "rank_pattern" else expression
    more = {"layers_to_transform": [0], "target_modules": ["q_proj"]} if key == "layers_pattern" else {}
    refused(made(tmp_path, **{key: value}, **more), f"`{key}.* takes more than 1 s to match")


def cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def damaged_header(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(b"\xff" * 64 + file.read_bytes()[64:])


def header(**entry: Any) -> Change:
    def write(folder: Path) -> None:
        content = json.dumps({f"{FIRST}.lora_A.weight": entry}).encode()
        (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(content)) + content + bytes(64))

    return write


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def write(folder: Path) -> None:
        values = {name: value.clone() for name, value in FACTORS.items()}
        change(values)
        save_file(values, folder / "adapter_model.safetensors", {"format": "pt"})

    return write


def swapped(values: dict[str, torch.Tensor]) -> None:
    for module in {name.rpartition(".lora_")[0] for name in values}:
        down, up = (f"{module}.lora_{side}.weight" for side in "AB")
        values[down], values[up] = values[up], values[down]


def text(content: str) -> Change:
    return lambda folder: (folder / "adapter_model.safetensors").write_text(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "damaged or truncated"),
        (damaged_header, "damaged or truncated"),
        (header(dtype="F32", shape=[4, 4], data_offsets=[0, 64]), "one factor only"),
        (header(dtype="F32", shape=[4, 5], data_offsets=[0, 64]), "damaged or truncated"),
        (header(dtype="X", shape=[4, 4], data_offsets=[0, 64]), "damaged or truncated"),
        (header(dtype="F32", shape="a", data_offsets=None), "damaged or truncated"),
        (text(""), "damaged or truncated"),
        (text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "pointer of Git LFS"),
        (tensors(dict.clear), "holds no layer at all"),
        (tensors(swapped), "in the weights and 8 in the config|an A of rank"),
        (tensors(lambda values: values.update({f"{FIRST}.lora_A.weight": torch.zeros(8, 191)})), "to another base"),
        (tensors(lambda values: values.update({f"{FIRST}.lora_A.weight": torch.zeros(8)})), "has factors of shape 8"),
        (tensors(lambda values: values.update({f"{FIRST}.lora_A.weight": torch.zeros(8, 192).long()})), "holds I64"),
        (tensors(lambda values: values.update({f"{FIRST}.lora_B.bias": torch.zeros(192)})), "a bias of a LoRA layer"),
        (tensors(lambda values: values.update({"visual.merger.mlp.0.weight": torch.zeros(2)})), "trained in full"),
        (tensors(lambda values: values.update({f"{FIRST}.lora_A.b.weight": torch.zeros(8, 192)})), "have one place"),
        (tensors(lambda values: values.update({f"{FIRST}.lora_magnitude_vector": torch.zeros(192)})), "config denies"),
        (tensors(lambda values: [values.pop(name) for name in list(values)[:28]]), "differ in 14 layers, first"),
        (
            tensors(lambda values: values.update({f"{FIRST.replace('.0.', '.9.')}.lora_{a}.weight": b for a, b in
                    (("A", torch.zeros(8, 192)), ("B", torch.zeros(192, 8)))})),
            "belongs to another base: .*layers.9.* is not in the base",
        ),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_the_adapter_are_refused(tmp_path: Path, change: Change, message: str) -> None:
    change(made(tmp_path))
    refused(tmp_path, message)


def test_the_adapter_of_a_model_with_other_names_is_refused(tmp_path: Path) -> None:
    """LLaVA's tower has layers of its own, which must not be taken for those of the language model."""
    other = {
        name.replace("model.language_model.", "vision_tower.vision_model.encoder."): b for name, b in FACTORS.items()
    }
    finished.adapter(tmp_path, other, target_modules=["q_proj"])
    refused(tmp_path, r"belongs to another base: model\.vision_tower.* is not in the base")


def test_a_pickle_is_never_read_and_its_conversion_is_named(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    refused(tmp_path, "the adapter's weights are a pickle")
    torch.save(FACTORS, tmp_path / "adapter_model.bin")
    with pytest.raises(RunError) as raised:
        read_adapter(str(tmp_path))
    command = raised.value.fix.partition('python -c "')[2].removesuffix('"')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(command)  # noqa: S102  # the conversion works as it is printed
    assert load_file(tmp_path / "adapter_model.safetensors").keys() == FACTORS.keys()
    require_complete(read_adapter(str(tmp_path)), SHAPES)


@pytest.mark.parametrize(
    "name",
    ["non_lora_state_dict.bin", "non_lora_trainables.bin", "mm_projector.bin", "vit.safetensors", "new_embeddings.pt"],
)
def test_weights_next_to_the_adapter_are_named(tmp_path: Path, name: str) -> None:
    made(tmp_path)
    weights = {"model.visual.merger.mlp.0.weight": torch.ones(2, 2)}
    save_file(weights, tmp_path / name) if name.endswith("safetensors") else torch.save(weights, tmp_path / name)
    refused(tmp_path, f"lie next to the adapter and are not merged or loaded: {name}")


def test_files_without_weights_of_the_model_are_no_problem(tmp_path: Path) -> None:
    made(tmp_path)
    for name in (
        "optimizer.pt",
        "training_args.bin",
        "rng_state_0.pth",
        "adapter_model.bin",
        "README.md",
        "value_head.bin",
    ):
        (tmp_path / name).write_bytes(b"anything")
    torch.save({}, tmp_path / "non_lora_state_dict.bin")
    torch.save(collections.OrderedDict(), tmp_path / "non_lora_trainables.bin")
    save_file({}, tmp_path / "mm_projector.safetensors")
    require_complete(read_adapter(str(tmp_path)), SHAPES)
    with zipfile.ZipFile(tmp_path / "x.bin", "w") as archive:
        archive.writestr("x/data.pkl", b"0" * 1000)  # numbers inside of the pickle
    assert [file.name for file in extra_weights(tmp_path)] == ["x.bin"]


def test_a_pattern_that_matches_nothing_changes_nothing(tmp_path: Path) -> None:
    plain = read_adapter(str(made(tmp_path / "a")))
    other = read_adapter(str(made(tmp_path / "b", rank_pattern={"none": 64}, alpha_pattern={r"layers\.9\..*": 1})))
    assert scales(plain) == scales(other) == {2.0}
    assert scales(read_adapter(str(made(tmp_path / "c", lora_alpha=8)))) == {1.0}
    assert scales(read_adapter(str(made(tmp_path / "d", use_rslora=True)))) == {16 / 8**0.5}
    changed = read_adapter(
        str(made(tmp_path / "e", alpha_pattern={"q_proj": 8, r"^model\..*\.q_proj": 4, "v_proj": 4}))
    )
    assert {layer.module.rpartition(".")[2]: layer.scale for layer in changed.layers.values()} == {
        "q_proj": 1.0, "v_proj": 0.5, "k_proj": 2.0, "o_proj": 2.0, "up_proj": 2.0, "gate_proj": 2.0, "down_proj": 2.0,
    }  # fmt: skip


def scales(adapter: Adapter) -> set[float]:
    return {layer.scale for layer in adapter.layers.values()}


@pytest.mark.parametrize(
    ("layers", "fields"),
    [
        ([2, 3], {"layers_to_transform": [2, 3]}),
        ([2, 3], {"layers_to_transform": [2, 3], "layers_pattern": ["blocks", "layers"]}),
        ([1], {"layers_to_transform": 1, "layers_pattern": "layers"}),
        ([0, 2, 3], {"exclude_modules": r".*layers\.1\..*"}),
        ([0], {"exclude_modules": [f"model.language_model.layers.{layer}.self_attn.q_proj" for layer in (1, 2, 3)]}),
    ],
)
def test_some_layers_only_are_complete(tmp_path: Path, layers: list[int], fields: dict[str, Any]) -> None:
    wanted = {name: b for name, b in FACTORS.items() if "q_proj" in name and int(name.split(".")[5]) in layers}
    finished.adapter(tmp_path, wanted, target_modules=["q_proj"], **fields)
    assert layer_problems(read_adapter(str(tmp_path)), SHAPES) == []
    finished.adapter(tmp_path, dict(list(wanted.items())[2:]) or FACTORS, target_modules=["q_proj"], **fields)
    assert layer_problems(read_adapter(str(tmp_path)), SHAPES) != []


def test_a_missing_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no adapter"):
        read_adapter(str(tmp_path))


def test_training_starts_from_plain_adapters_of_the_recipes_rank_only(tmp_path: Path) -> None:
    from lowmed.engine.adapter import require_start
    from lowmed.recipe import LoraSpec, ModelSpec

    model = ModelSpec(name="nano")
    assert require_start(LoraSpec(rank=8, start=str(made(tmp_path / "a"))), model) is not None
    with pytest.raises(RecipeError, match="has rank 8, the recipe 4"):
        require_start(LoraSpec(rank=4, start=str(tmp_path / "a")), model)
    for name, fields, message in (
        ("b", {"init_lora_weights": "pissa"}, "PiSSA"),
        ("c", {"target_modules": ["q_proj", "out"]}, "is not named by the config"),
        ("d", {"modules_to_save": ["lm_head"]}, "replaces modules"),
    ):
        with pytest.raises(RunError, match=message):
            require_start(LoraSpec(rank=8, start=str(made(tmp_path / name, **fields))), model)
    vision = {f"base_model.model.model.visual.blocks.0.attn.qkv.lora_{side}.weight": b for side, b in
              (("A", torch.ones(8, 128)), ("B", torch.ones(384, 8)))}  # fmt: skip
    finished.adapter(tmp_path / "e", FACTORS | vision)
    with pytest.raises(RunError, match=r"is also on model\.visual"):
        require_start(LoraSpec(rank=8, start=str(tmp_path / "e")), model)


def test_thousands_of_expressions_are_matched_within_one_limit_and_more_are_refused(tmp_path: Path) -> None:
    require_complete(read_adapter(str(made(tmp_path, rank_pattern={f"layer.*{n}x": 9 for n in range(2000)}))), SHAPES)
    refused(made(tmp_path, rank_pattern={f"layer{n}": 9 for n in range(10_001)}), "one of 10,001 expressions")


def test_control_characters_of_a_received_file_are_not_printed(tmp_path: Path) -> None:
    key = f"{FIRST}\x1b[31m\n.lora_A.weight"
    tensors(lambda values: values.update({key: torch.zeros(8, 192)}))(made(tmp_path))
    refused(tmp_path, r"no LoRA factors, first .*q_proj\?\[31m\?\.lora_A")
    refused(made(tmp_path, **{"a\nb\x1b": 1}), r"the field `a\?b\?`")
