from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lowmed.plan import architecture, calibration, cards, tables
from lowmed.plan.cards import Card
from lowmed.plan.estimate import Estimate, estimate, suggestions
from lowmed.plan.formatting import as_document, extra_memory_lines, full_lines, short_lines, verdict_lines
from lowmed.recipe.io import load_recipe

ROOT = Path(__file__).parents[2]


def on(card: Card, *overrides: str, recipe: str = "rarl") -> Estimate:
    plan = load_recipe(recipe, overrides)
    return estimate(plan, architecture.read_architecture(plan.model), card, known=[])


def test_the_verdict_follows_from_what_is_left_free() -> None:
    peak = on(Card("any", 16.0), "method.per_device_train_batch_size=4", "method.gradient_checkpointing=true")
    for free, verdict in [(0.2, "fits"), (0.05, "tight"), (-0.01, "does not fit")]:
        assert replace(peak, card=Card("any", peak.peak_gib / (1 - free))).verdict == verdict


def test_the_recipe_that_rarl_is_fits_every_card_that_the_toolkit_is_for() -> None:
    for name in ("T4", "RTX 4090", "A100-40"):
        assert on(cards.CARDS[name]).verdict == "fits"


def test_a_72b_does_not_fit_a_t4_and_its_weights_alone_say_so() -> None:
    result = on(cards.CARDS["T4"], "model.name=Qwen/Qwen2-VL-72B-Instruct")
    assert result.verdict == "does not fit"
    assert result.gib["load"] > 14.6


@pytest.mark.parametrize(
    "overrides", [(), ("model.load_in=16bit", "model.max_image_tokens=2048"), ("method.gradient_checkpointing=true",)]
)
def test_each_knob_saves_what_it_says_when_it_is_turned(overrides: tuple[str, ...]) -> None:
    card = cards.CARDS["A100-40"]
    result = on(card, *overrides)
    cut = result.sizes.batch
    fixed = [
        f"method.per_device_train_batch_size={cut.per_device_train_batch_size}",
        f"method.gradient_checkpointing={str(cut.gradient_checkpointing).lower()}",
    ]
    assert 1 <= len(suggestions(result)) <= 3
    for knob in suggestions(result):
        turned = on(card, *overrides, *fixed, knob.override)
        assert result.peak_gib - turned.peak_gib == pytest.approx(knob.saves_gib, abs=0.02), knob


def test_the_most_rows_fit_and_one_more_would_not() -> None:
    card = cards.CARDS["L4"]
    result = on(card, recipe="rarl-sft")
    for rows, gradient_checkpointing in zip(result.most_rows, ("false", "true"), strict=True):
        for number, fits in ((rows, True), (rows + 1, False)):
            update = (f"method.prompts_per_step={number}", f"method.per_device_train_batch_size={number}")
            asked = on(card, *update, f"method.gradient_checkpointing={gradient_checkpointing}", recipe="rarl-sft")
            assert (asked.gib["backward"] <= card.gib) is fits


def test_a_bridge_is_planned_with_its_rounds_of_sft() -> None:
    card = cards.CARDS["A100-40"]
    result = on(card, recipe="medbridge")
    assert result.sft
    assert result.sft.sizes.recipe.method.kind == "sft"
    assert result.gib["SFT backward"] == result.sft.gib["backward"]
    fixed = [
        f"bridge.sft.per_device_train_batch_size={result.sft.sizes.batch.per_device_train_batch_size}",
        "bridge.sft.gradient_checkpointing=false",
        f"method.per_device_train_batch_size={result.sizes.batch.per_device_train_batch_size}",
        "method.gradient_checkpointing=true",
    ]
    assert result.phase == "SFT backward"
    first, second, _third = suggestions(result)
    assert (first.override.split("=")[0], second.override) == (
        "bridge.sft.per_device_train_batch_size",
        "bridge.sft.gradient_checkpointing=true",
    )
    for knob in (first, second):
        turned = on(card, *fixed, knob.override, recipe="medbridge")
        assert result.peak_gib - turned.peak_gib == pytest.approx(knob.saves_gib, abs=0.02)


def test_what_runs_beside_the_card_is_told() -> None:
    def beside(*overrides: str, recipe: str = "rarl") -> str:
        return " ".join(extra_memory_lines(load_recipe(recipe, overrides)))

    assert beside() == beside(recipe="rarl-sft") == ""
    assert "on the CPU" in beside("method.rewards=[{name: semantic}]")
    assert "on the CPU" in beside("method.rewards=[{name: reasoning, by: embedding}]")
    assert "endpoint" in beside(recipe="zhu-msa")


def test_every_figure_of_a_card_that_was_not_measured_is_marked() -> None:
    estimated = on(cards.CARDS["L4"])
    row = max(calibration.shipped(), key=lambda row: row.model.parameters)
    mine = row.model_copy(update={"card": "NVIDIA L4", "card_gib": 22.0})
    known = estimate(estimated.sizes.recipe, estimated.sizes.model, cards.CARDS["L4"], known=[mine])
    for result, marked in ((estimated, True), (known, False)):
        told = full_lines(result)
        for begin in ("card ", "verdict ", "time "):
            assert ("est." in next(line for line in told if line.startswith(begin))) is marked
        in_table = next(line for line in short_lines([result]) if line.startswith("L4"))
        assert in_table.count("~") == (3 if marked else 0)
        written = as_document(result)
        assert written["estimated"] is written["seconds"]["estimated"] is marked


def test_a_measured_pace_replaces_the_estimate_of_that_card() -> None:
    card = cards.CARDS["L4"]
    plain = on(card)
    row = max(calibration.shipped(), key=lambda row: row.model.parameters)
    slow = row.model_copy(
        update={"card": "NVIDIA L4", "card_gib": 22.0, "precision": "bf16", "seconds": {"update": 1e4}}
    )
    result = estimate(plain.sizes.recipe, plain.sizes.model, card, known=[slow])
    assert plain.time
    assert result.time
    assert result.time.rows == 1
    assert result.time.update > 10 * plain.time.update


def test_a_card_without_known_speed_has_no_time() -> None:
    assert on(Card("24 GiB", 24.0)).time is None


def test_a_vision_adapter_to_start_from_is_warned_of(tmp_path: Path) -> None:
    weights = {"base_model.model.model.visual.blocks.0.attn.qkv.lora_A.weight": np.zeros((2, 2), np.float32)}
    for folder in (tmp_path, tmp_path / "adapter"):
        folder.mkdir(exist_ok=True)
        save_file(weights, folder / "adapter_model.safetensors")
        recipe = load_recipe("rarl", [f"lora.start={folder}"])
        assert any("vision LoRA can not be served" in line for line in verdict_lines(recipe))
        (folder / "adapter_model.safetensors").unlink()
    assert not any("warning" in line for line in verdict_lines(load_recipe("rarl")))


def test_the_check_is_told_in_few_lines() -> None:
    recipe = load_recipe("rarl")
    assert verdict_lines(recipe, cards.CARDS["T4"])[0].startswith("fits on T4: ")
    assert "RTX 3090" in verdict_lines(recipe)[0]


def test_qwen3_is_said_to_be_planned_only() -> None:
    recipe = load_recipe("rarl", ["model.name=Qwen/Qwen3-VL-2B-Instruct"])
    assert any("planned only" in line for line in verdict_lines(recipe, cards.CARDS["L4"]))


@pytest.mark.parametrize(
    ("path", "mark", "table"),
    [
        ("recipes/README.md", "plan", tables.recipes_table),
        ("docs/memory.md", "measured", lambda: tables.errors_table(calibration.shipped())),
    ],
)
def test_the_tables_of_the_documents_are_not_stale(path: str, mark: str, table: object) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    inside = text.partition(f"<!-- {mark} -->\n")[2].partition(f"\n<!-- /{mark} -->")[0]
    assert callable(table)
    assert inside == table(), "run `python benchmarks/memory.py`"
