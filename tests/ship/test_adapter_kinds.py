"""Adapters of every kind that PEFT writes are merged and loaded with PEFT's own change of every layer, or refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from ship import finished, trained
from transformers import AutoModelForImageTextToText

from lowmed import nano
from lowmed.adapter.intake import read_adapter
from lowmed.engine import device, load
from lowmed.engine.adapter import for_peft
from lowmed.errors import RunError
from lowmed.recipe import ModelSpec
from lowmed.ship import layer_checks, merge, verify, weights
from lowmed.ship.adapter import target_tensors, weight_delta
from lowmed.ship.base_model import base_tensors
from lowmed.ship.merge import MergeInputs

OLD = "before transformers 4.52"
NANO = ModelSpec(name="nano", load_in="16bit")


def inputs(folder: Path) -> MergeInputs:
    adapter, tensors = read_adapter(str(folder)), base_tensors(nano.folder())
    return MergeInputs(nano.folder(), tensors, adapter, target_tensors(adapter, tensors), "original")


def assert_merged_as_peft(folder: Path, model: Any, out: Path) -> None:
    """All checks pass, the merged files hold PEFT's change, and so does the copy that PEFT loads."""
    expected = trained.deltas(model)
    adapter = read_adapter(str(folder))
    checks = verify.check_files(adapter, nano.folder(), base_tensors(nano.folder()))
    assert [check.name for check in checks if not check.passed] == []
    assert adapter.layers.keys() == expected.keys()
    merge.write_shards(inputs(folder), out, lambda _done, _note: None)
    merged, before = load_file(out / "model.safetensors"), load_file(nano.folder() / "model.safetensors")
    loaded = weights.loaded_names(merged)
    for name, tensor in merged.items():
        delta = expected.get(loaded[name].removesuffix(".weight"))
        exact = before[name].float() if delta is None else before[name].float() + delta
        # Another order of additions may round the last of the eight bits differently.
        torch.testing.assert_close(tensor.float(), exact.to(tensor.dtype).float(), rtol=2**-7, atol=1e-6)
    assert layer_checks.check_merged_layers(inputs(folder), out).passed
    with for_peft(adapter) as plain:
        again = trained.deltas(trained.loaded(Path(plain)))
    assert again.keys() == expected.keys()
    for name, delta in expected.items():
        torch.testing.assert_close(again[name], delta, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", trained.TAKEN)
def test_each_kind_of_peft_is_merged_and_loaded_with_the_change_of_peft(tmp_path: Path, kind: str) -> None:
    model = trained.trained(tmp_path / "adapter", **trained.TAKEN[kind])
    assert_merged_as_peft(tmp_path / "adapter", model, tmp_path / "out")


def test_an_adapter_stored_in_bf16_is_merged_with_the_change_of_peft(tmp_path: Path) -> None:
    model = trained.trained(tmp_path / "adapter", dtype=torch.bfloat16)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: value.bfloat16() for name, value in load_file(file).items()}, file, {"format": "pt"})
    assert_merged_as_peft(tmp_path / "adapter", model, tmp_path / "out")


@pytest.mark.parametrize("kind", trained.REFUSED)
def test_each_kind_that_does_more_is_refused_with_its_reason(tmp_path: Path, kind: str) -> None:
    options, reason = trained.REFUSED[kind]
    trained.trained(tmp_path, **options)
    with pytest.raises(RunError, match=reason) as raised:
        read_adapter(str(tmp_path))
    assert len(str(raised.value).splitlines()) == 3


def test_a_converted_pissa_is_a_plain_adapter_of_the_published_base(tmp_path: Path) -> None:
    model = trained.converted(tmp_path / "adapter", tmp_path)
    expected = trained.deltas(model)  # of the PiSSA over its own base: its change of the published one
    adapter = read_adapter(str(tmp_path / "adapter"))
    assert adapter.ranks == [4]
    tensors = base_tensors(nano.folder())
    assert all(check.passed for check in verify.check_files(adapter, nano.folder(), tensors))
    for module, delta in expected.items():
        if module in adapter.layers:
            ours = weight_delta(adapter, module, torch.zeros(()))
            torch.testing.assert_close(ours, delta, rtol=1e-3, atol=1e-4)


def test_resized_embeddings_are_refused(tmp_path: Path) -> None:
    model = trained.trained(tmp_path)
    model.save_pretrained(str(tmp_path), save_embedding_layers=True)  # PEFT does so after a change of the vocabulary
    with pytest.raises(RunError, match=r"no LoRA factors.*a full table of embeddings"):
        read_adapter(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "names"),
    [*(("plain", names) for names in trained.NAMES), ("rank_pattern", OLD), ("DoRA", OLD), ("DoRA", "a state dict")],
)
def test_keys_of_other_programs_and_versions_are_mapped_to_todays(tmp_path: Path, kind: str, names: str) -> None:
    model = trained.trained(tmp_path / "adapter", **trained.TAKEN[kind])
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    rename = trained.NAMES[names]
    save_file({rename(key): value for key, value in load_file(file).items()}, file, {"format": "pt"})
    assert_merged_as_peft(tmp_path / "adapter", model, tmp_path / "out")


def test_old_names_of_the_tower_and_in_expressions_are_mapped(tmp_path: Path) -> None:
    """unsloth's expression and LLaMA-Factory's list of full names, written with transformers before 4.52."""
    pattern = (
        r"(?:.*?(?:vision|image|visual|patch|language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)"
        r".*?(?:qkv|proj|fc1|fc2|0|2|q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*?)"
        r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)"
        r"\.(?:(?:qkv|proj|fc1|fc2|0|2|q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)))"
    )
    model = trained.trained(tmp_path / "adapter", target_modules=pattern)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    old = trained.NAMES[OLD]
    tensors = {old(key): value for key, value in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})
    assert_merged_as_peft(tmp_path / "adapter", model, tmp_path / "out")
    assert len(read_adapter(str(tmp_path / "adapter")).vision_layers) > 0
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    listed = sorted({key.removeprefix("base_model.model.").rpartition(".lora_")[0] for key in tensors})
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config | {"target_modules": listed}))
    assert_merged_as_peft(tmp_path / "adapter", model, tmp_path / "again")


@pytest.mark.parametrize("kind", ["plain", "DoRA", "rank_pattern", "vision tower"])
def test_the_engine_loads_each_kind_with_the_change_of_peft(tmp_path: Path, kind: str) -> None:
    model = trained.trained(tmp_path, **trained.TAKEN[kind])
    file = tmp_path / "adapter_model.safetensors"
    old = trained.NAMES[OLD]
    save_file({old(key): value for key, value in load_file(file).items()}, file, {"format": "pt"})
    tuned = load.with_adapter(load.load_base(NANO, device.find_device(NANO)), tmp_path)
    expected = {name: value for name, value in model.state_dict().items() if "lora_" in name}
    actual = tuned.model.state_dict()
    assert {name for name in actual if "lora_" in name} == expected.keys()
    assert all(torch.equal(actual[name].float(), value) for name, value in expected.items())


def test_a_doubled_a_dropped_and_an_added_layer_are_named(tmp_path: Path) -> None:
    finished.adapter(tmp_path / "adapter", finished.factors(0.02))
    job = inputs(tmp_path / "adapter")
    merge.write_shards(job, tmp_path / "out", lambda _done, _note: None)
    file = tmp_path / "out" / "model.safetensors"
    right, before = load_file(file), load_file(nano.folder() / "model.safetensors")
    assert layer_checks.check_merged_layers(job, tmp_path / "out").passed
    name = "model.layers.2.self_attn.q_proj.weight"
    twice = (right[name].float() * 2 - before[name].float()).bfloat16()
    for wrong, problem in ((twice, r"holds 2\.0\d times the adapter's change, not 1"), (before[name], r"holds 0\.00 ")):
        save_file(right | {name: wrong}, file, {"format": "pt"})
        check = layer_checks.check_merged_layers(job, tmp_path / "out")
        assert not check.passed
        assert check.detail.startswith(f"1 tensors differ over the original base, first {name}")
        assert re.search(problem, check.detail)
    other = "visual.blocks.0.attn.qkv.weight"
    save_file(right | {other: before[other] * 2}, file, {"format": "pt"})
    check = layer_checks.check_merged_layers(job, tmp_path / "out")
    assert f"first {other}: the adapter does not change it" in check.detail
    dequantized = MergeInputs(job.folder, job.base, job.adapter, job.targets, "dequantized")
    merge.write_shards(dequantized, tmp_path / "other", lambda _done, _note: None)
    assert "over the dequantized base" in layer_checks.check_merged_layers(job, tmp_path / "other").detail


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_merge_of_peft_passes_and_a_doubled_weak_layer_fails(tmp_path: Path, dtype: torch.dtype) -> None:
    """bf16 rounds away four tenths of an adapter this weak."""
    finished.adapter(tmp_path / "adapter", finished.factors(0.0005))
    base = AutoModelForImageTextToText.from_pretrained(nano.folder(), dtype=dtype)
    PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload().save_pretrained(tmp_path / "out")
    job = inputs(tmp_path / "adapter")
    assert layer_checks.check_merged_layers(job, tmp_path / "out").passed
    file, name = tmp_path / "out" / "model.safetensors", "model.layers.1.self_attn.q_proj.weight"
    tensor = merge.merge_tensor(job, name)
    twice = {name: (tensor.reference + 2 * tensor.delta).to(dtype)}
    save_file(load_file(file) | twice, file, {"format": "pt"})
    check = layer_checks.check_merged_layers(job, tmp_path / "out")
    assert f"first {name}" in check.detail


def test_a_change_of_the_scale_is_no_rounding_for_the_comparison_with_peft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison fails if lowmed's own scale is wrong by a thousandth."""
    finished.adapter(tmp_path, finished.factors(0.02))
    adapter, tensors = read_adapter(str(tmp_path)), base_tensors(nano.folder())
    assert layer_checks.check_against_peft(adapter, nano.folder(), tensors).passed
    right = weight_delta
    monkeypatch.setattr(layer_checks, "weight_delta", lambda *arguments: right(*arguments) * 1.001)
    check = layer_checks.check_against_peft(adapter, nano.folder(), tensors)
    assert not check.passed
    assert check.detail.startswith("28 of 28 layers differ, first model.language_model.layers.0")


def test_an_adapter_with_nan_or_missing_layers_is_not_loaded(tmp_path: Path) -> None:
    tensors = finished.factors(0.02)
    tensors[next(iter(tensors))][0, 0] = torch.nan
    finished.adapter(tmp_path, tensors)
    with pytest.raises(RunError, match="the adapter holds NaN or infinity"):
        load.with_adapter(load.load_base(NANO, device.find_device(NANO)), tmp_path)
    finished.adapter(tmp_path, dict(list(finished.factors(0.02).items())[:28]))
    with pytest.raises(RunError, match=r"differ in 14 layers, first: .* is missing"):
        load.with_adapter(load.load_base(NANO, device.find_device(NANO)), tmp_path)
