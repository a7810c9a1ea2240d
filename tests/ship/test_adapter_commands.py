"""The commands take adapters of real trainers, refuse those that they cannot take, and name a wrong merge."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from ship import finished, trained

from lowmed import nano
from lowmed.adapter.intake import read_adapter
from lowmed.cli.merge import merge
from lowmed.cli.verify import verify
from lowmed.engine import patches
from lowmed.errors import LowmedError, RunError
from lowmed.evaluation.target import open_target
from lowmed.run import Run
from lowmed.ship.base_model import base_tensors
from lowmed.ship.gguf.convert import write_gguf
from lowmed.ship.verify import check_files as verify_files

Change = Callable[[Path], object]
Q_PROJ = "model.layers.{}.self_attn.q_proj.weight"
pytestmark = pytest.mark.usefixtures("forked_scripts")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("adapters") / "run", "eval.max_new_tokens=2")


def replaced(run: Run, **options: Any) -> Any:
    """Put an adapter that PEFT wrote in the place of the run's; returns its model."""
    for file in run.adapter.iterdir():
        file.unlink()
    return trained.trained(run.adapter, **({"target_modules": ["q_proj", "v_proj"]} | options))


def put(run: Run, folder: Path) -> Run:
    """The run, with the adapter of another trainer."""
    for file in run.adapter.iterdir():
        file.unlink()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(folder / name, run.adapter / name)
    return run


def merged(run: Run, out: Path) -> dict[str, torch.Tensor]:
    merge(str(run.folder), out, questions=0)
    return load_file(out / "model.safetensors")


def checks(capsys: pytest.CaptureFixture[str], target: Path, **options: Any) -> dict[str, str]:
    """Failed check -> detail."""
    try:
        verify(str(target), questions=1, as_json=True, **options)
    except typer.Exit as end:
        assert end.exit_code == 1
    result = json.loads(capsys.readouterr().out)
    return {check["name"]: check["detail"] for check in result["checks"] if not check["passed"]}


def test_merge_scales_each_layer_by_its_own_rank(run: Run, tmp_path: Path) -> None:
    model = replaced(run, rank_pattern={"q_proj": 8})
    result, before = merged(run, tmp_path / "merged"), load_file(nano.folder() / "model.safetensors")
    layer = model.get_submodule("base_model.model.model.language_model.layers.0.self_attn.q_proj")
    factors = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    name = Q_PROJ.format(0)
    torch.testing.assert_close(result[name].float(), before[name].float() + 0.5 * factors, rtol=2**-7, atol=1e-4)
    report = json.loads((tmp_path / "merged" / "parity.json").read_text())
    assert "PEFT changes every layer alike" in [check["name"] for check in report["checks"]]


def old_names(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    rename = trained.NAMES["before transformers 4.52"]
    save_file({rename(key): value for key, value in load_file(file).items()}, file, {"format": "pt"})


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def extra(folder: Path) -> None:
    torch.save({"model.visual.merger.mlp.0.weight": torch.ones(4, 4)}, folder / "non_lora_state_dict.bin")


def no_object(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("[]")


@pytest.mark.slow
def test_old_names_and_some_layers_pass_every_check(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replaced(run, layers_to_transform=[2, 3])
    old_names(run.adapter)
    assert checks(capsys, run.folder) == {}
    assert merged(run, tmp_path / "merged").keys() == load_file(nano.folder() / "model.safetensors").keys()


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"init_lora_weights": "pissa"}, lambda _folder: None, "initialized with PiSSA"),
        ({}, extra, "lie next to the adapter"),
        ({}, pickled, "are a pickle"),
        ({}, no_object, "adapter's config cannot be read"),
    ],
)
def test_merge_verify_and_evaluation_refuse_what_they_would_change(
    run: Run, tmp_path: Path, options: dict[str, Any], change: Change, message: str
) -> None:
    replaced(run, **options)
    change(run.adapter)
    commands: list[Callable[[], object]] = [
        lambda: merge(str(run.folder), tmp_path / "merged", questions=0),
        lambda: verify(str(run.folder)),
        lambda: verify(str(run.adapter)),
    ]
    commands += [lambda: open_target(str(run.adapter))] if change is no_object else []
    for command in commands:
        with pytest.raises(LowmedError, match=message) as raised:
            command()
        assert len(str(raised.value).splitlines()) == 3
    assert not (tmp_path / "merged").exists()


@pytest.mark.slow
def test_a_merge_with_a_doubled_layer_fails_though_all_answers_agree(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replaced(run)
    result, before = merged(run, tmp_path / "merged"), load_file(nano.folder() / "model.safetensors")
    capsys.readouterr()
    name = Q_PROJ.format(1)
    result[name] = (2 * result[name].float() - before[name].float()).bfloat16()
    save_file(result, tmp_path / "merged" / "model.safetensors", {"format": "pt"})
    failed = checks(capsys, run.folder, against=tmp_path / "merged")
    assert f"first {name}: it holds 2.0" in failed["every layer is merged"]
    assert failed.keys() == {"every layer is merged"}  # the answers agree


def test_a_merged_tower_is_in_the_projector_of_the_gguf_files(run: Run, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    replaced(run, target_modules=r".*visual\.blocks\.\d+\.attn\.proj")
    result = merged(run, tmp_path / "merged")
    write_gguf(tmp_path / "merged", tmp_path / "gguf", ("f16",), name="made")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "gguf" / "mmproj-made-f16.gguf").tensors}
    stored = torch.from_numpy(tensors["v.blk.1.attn_out.weight"].data.copy()).float()
    name = "visual.blocks.1.attn.proj.weight"
    assert torch.equal(stored, result[name].half().float())
    assert not torch.equal(
        stored, load_file(nano.folder() / "model.safetensors")["visual.blocks.1.attn.proj.weight"].float()
    )
    with pytest.raises(RunError, match="vision tower"):
        from lowmed.cli.export import export

        export(str(run.folder), "vllm", tmp_path / "served", questions=0)


def test_adapters_of_trl_pass_the_checks_of_files_and_are_merged_and_exported(run: Run, tmp_path: Path) -> None:
    from datasets import Dataset
    from PIL import Image
    from trl import SFTConfig, SFTTrainer

    pytest.importorskip("gguf", reason="the extra `gguf` is not installed")

    patches.use_torch_log_probs()  # TRL's own need a GPU
    answers = ("yes", "no")
    rows = [
        {
            "images": [Image.new("RGB", (84, 84), (60 * number, 20, 200))],
            "prompt": [{"role": "user", "content": "Is there a mark?"}],
            "completion": [{"role": "assistant", "content": answers[number % 2]}],
        }
        for number in range(4)
    ]
    kinds: list[dict[str, Any]] = [{"target_modules": "all-linear"}, {"use_dora": True, "rank_pattern": {"q_proj": 4}}]
    for number, options in enumerate(kinds):
        settings = SFTConfig(
            str(tmp_path / "out"), max_steps=2, learning_rate=1e-2, report_to="none", use_cpu=True, bf16=False,
            max_length=None, per_device_train_batch_size=2, save_strategy="no",
        )  # fmt: skip
        lora = LoraConfig(**({"r": 2, "target_modules": trained.LIST} | options))
        trainer = SFTTrainer(str(nano.folder()), args=settings, train_dataset=Dataset.from_list(rows), peft_config=lora)
        trainer.train()
        folder = tmp_path / str(number)
        trainer.save_model(str(folder))
        result = verify_files(read_adapter(str(folder)), nano.folder(), base_tensors(nano.folder()))
        assert [check.name for check in result if not check.passed] == []
        put(run, folder)
        merged(run, tmp_path / f"merged-{number}")
        assert write_gguf(tmp_path / f"merged-{number}", tmp_path / f"gguf-{number}", ("f16",), name="made")
