from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lowmed import architectures
from lowmed.plan import calibration, cards, tables
from lowmed.plan.cards import Card
from lowmed.plan.estimate import Estimate, estimate, suggestions
from lowmed.plan.formatting import as_document, full_lines, note_lines, short_lines, verdict_lines
from lowmed.recipe.io import load_recipe

ROOT = Path(__file__).parents[2]


def on(card: Card, *overrides: str, recipe: str = "rarl") -> Estimate:
    loaded = load_recipe(recipe, overrides)
    return estimate(loaded, architectures.read_architecture(loaded.model), card, measured=[])


def test_the_verdict_depends_on_the_free_memory() -> None:
    peak = on(Card("any", 16.0), "method.per_device_train_batch_size=4", "method.gradient_checkpointing=true")
    for free, verdict in [(0.2, "fits"), (0.05, "tight"), (-0.01, "does not fit")]:
        assert replace(peak, card=Card("any", peak.peak_gib / (1 - free))).verdict == verdict


def test_rarl_fits_the_gpus_that_lowmed_is_made_for() -> None:
    for name in ("T4", "RTX 4090", "A100-40"):
        assert on(cards.CARDS[name]).verdict == "fits"


def test_the_weights_of_a_72b_model_do_not_fit_a_t4() -> None:
    result = on(cards.CARDS["T4"], "model.name=Qwen/Qwen2-VL-72B-Instruct")
    assert result.verdict == "does not fit"
    assert result.gib["load"] > 14.6


@pytest.mark.parametrize(
    "overrides", [(), ("model.load_in=16bit", "model.max_image_tokens=2048"), ("method.gradient_checkpointing=true",)]
)
def test_each_suggestion_saves_what_it_promises(overrides: tuple[str, ...]) -> None:
    card = cards.CARDS["A100-40"]
    result = on(card, *overrides)
    batch = result.workload.batch
    fixed = [
        f"method.per_device_train_batch_size={batch.per_device_train_batch_size}",
        f"method.gradient_checkpointing={str(batch.gradient_checkpointing).lower()}",
    ]
    assert 1 <= len(suggestions(result)) <= 3
    for change in suggestions(result):
        changed = on(card, *overrides, *fixed, change.override)
        assert result.peak_gib - changed.peak_gib == pytest.approx(change.saves_gib, abs=0.02), change


def test_rewards_that_read_the_completions_again_take_time() -> None:
    def train(*names: str) -> float:
        rules = ", ".join(f"{{name: {name}}}" for name in ("accuracy", *names))
        batch = "method.per_device_train_batch_size=8", "method.gradient_checkpointing=true"
        time = on(cards.CARDS["L4"], f"method.rewards=[{rules}]", *batch).time
        assert time is not None
        return time.train

    plain, once, twice = train("majority"), train("consistency"), train("image_dependence")
    assert train() == plain < once < twice
    assert train("consistency", "image_dependence") == pytest.approx(once + twice - plain)
    assert twice - plain > 2 * (once - plain)  # exchanged images are encoded too


def test_max_rows_fit_and_one_more_does_not() -> None:
    card = cards.CARDS["L4"]
    result = on(card, recipe="rarl-sft")
    for rows, gradient_checkpointing in zip(result.max_rows, ("false", "true"), strict=True):
        for number, fits in ((rows, True), (rows + 1, False)):
            update = (f"method.prompts_per_step={number}", f"method.per_device_train_batch_size={number}")
            result_with_rows = on(
                card, *update, f"method.gradient_checkpointing={gradient_checkpointing}", recipe="rarl-sft"
            )
            assert (result_with_rows.gib["backward"] <= card.gib) is fits


def test_a_bridge_is_estimated_with_its_sft_rounds() -> None:
    card = cards.CARDS["A100-40"]
    result = on(card, recipe="medbridge")
    assert result.sft
    assert result.sft.workload.recipe.method.kind == "sft"
    assert result.gib["SFT backward"] == result.sft.gib["backward"]
    fixed = [
        f"bridge.sft.per_device_train_batch_size={result.sft.workload.batch.per_device_train_batch_size}",
        "bridge.sft.gradient_checkpointing=false",
        f"method.per_device_train_batch_size={result.workload.batch.per_device_train_batch_size}",
        "method.gradient_checkpointing=true",
    ]
    assert result.peak_phase == "SFT backward"
    first, second, _third = suggestions(result)
    assert (first.override.split("=")[0], second.override) == (
        "bridge.sft.per_device_train_batch_size",
        "bridge.sft.gradient_checkpointing=true",
    )
    for change in (first, second):
        changed = on(card, *fixed, change.override, recipe="medbridge")
        assert result.peak_gib - changed.peak_gib == pytest.approx(change.saves_gib, abs=0.02)


def test_memory_outside_of_the_plan_is_noted() -> None:
    def notes(*overrides: str, recipe: str = "rarl") -> str:
        return " ".join(note_lines(load_recipe(recipe, overrides)))

    assert notes() == notes(recipe="rarl-sft") == ""
    assert "on the CPU" in notes("method.rewards=[{name: semantic}]")
    assert "on the CPU" in notes("method.rewards=[{name: reasoning, by: embedding}]")
    assert "endpoint" in notes(recipe="zhu-msa")


def test_every_figure_of_an_uncalibrated_gpu_is_marked() -> None:
    estimated = on(cards.CARDS["L4"])
    run = max(calibration.shipped_runs(), key=lambda run: run.model.parameters)
    on_l4 = run.model_copy(update={"card": "NVIDIA L4", "card_gib": 22.0})
    calibrated = estimate(estimated.workload.recipe, estimated.workload.model, cards.CARDS["L4"], measured=[on_l4])
    for result, marked in ((estimated, True), (calibrated, False)):
        lines = full_lines(result)
        for begin in ("device ", "verdict ", "time "):
            assert ("estimate" in next(line for line in lines if line.startswith(begin))) is marked
        in_table = next(line for line in short_lines([result]) if line.startswith("L4"))
        assert in_table.count("~") == (3 if marked else 0)
        written = as_document(result)
        assert written["calibrated"] is written["seconds"]["calibrated"] is not marked


def test_measured_times_scale_the_estimate_of_that_gpu() -> None:
    card = cards.CARDS["L4"]
    plain = on(card)
    run = max(calibration.shipped_runs(), key=lambda run: run.model.parameters)
    slow = run.model_copy(update={"card": "NVIDIA L4", "card_gib": 22.0, "precision": "bf16", "seconds": {"step": 1e4}})
    result = estimate(plain.workload.recipe, plain.workload.model, card, measured=[slow])
    assert plain.time
    assert result.time
    assert result.time.dry_runs == 1
    assert result.time.step > 10 * plain.time.step


def test_a_gpu_of_unknown_speed_has_no_time() -> None:
    assert on(Card("24 GiB", 24.0)).time is None


def test_an_adapter_on_the_vision_tower_is_warned_about(tmp_path: Path) -> None:
    weights = {"base_model.model.model.visual.blocks.0.attn.qkv.lora_A.weight": np.zeros((2, 2), np.float32)}
    for folder in (tmp_path, tmp_path / "adapter"):
        folder.mkdir(exist_ok=True)
        save_file(weights, folder / "adapter_model.safetensors")
        recipe = load_recipe("rarl", [f"lora.start={folder}"])
        assert any("adapts the vision tower" in line for line in verdict_lines(recipe))
        (folder / "adapter_model.safetensors").unlink()
    assert not any("warning" in line for line in verdict_lines(load_recipe("rarl")))


def test_the_verdict_is_one_line() -> None:
    recipe = load_recipe("rarl")
    assert verdict_lines(recipe, cards.CARDS["T4"])[0].startswith("fits on T4: ")
    assert "RTX 3090" in verdict_lines(recipe)[0]


@pytest.mark.parametrize(
    ("path", "mark", "table"),
    [
        ("recipes/README.md", "plan", tables.recipes_table),
        ("docs/models.md", "plan", tables.models_table),
        ("docs/memory.md", "measured", lambda: tables.errors_table(calibration.shipped_runs())),
    ],
)
def test_the_tables_of_the_documentation_are_up_to_date(path: str, mark: str, table: object) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    inside = text.partition(f"<!-- {mark} -->\n")[2].partition(f"\n<!-- /{mark} -->")[0]
    assert callable(table)
    assert inside == table(), "run `python benchmarks/memory.py`"


def test_evaluations_during_training_are_planned_in_time_and_memory() -> None:
    card = cards.CARDS["T4"]
    without, with_dev = on(card), on(card, "data.dev=0.1", "dev.eval_steps=50")
    assert with_dev.time is not None
    assert without.time is not None
    assert with_dev.time.evaluations == 4  # before the first step, after 50, 100 and the last of 120 steps
    assert without.time.run(120) == pytest.approx(120 * without.time.step)
    assert with_dev.time.run(120) == pytest.approx(120 * without.time.step + 4 * with_dev.time.dev)
    more = on(card, "data.dev=0.1", "dev.questions=256")
    assert more.time is not None
    assert more.time.dev > 3 * with_dev.time.dev
    # The optimizer stays in memory, which an evaluation after the run does not need.
    assert with_dev.gib["dev evaluation"] > with_dev.gib["evaluation"]
    assert any("4 dev evaluations" in line for line in full_lines(with_dev))
