"""Several data sets in one run: checked, trained, evaluated by source, and described without their paths."""

import json
from pathlib import Path

import pytest
from data.made import FIXTURES, slake_with_images

import lowmed
from lowmed.api.report import report
from lowmed.data import for_recipe
from lowmed.data.run_identity import store_data
from lowmed.evaluation.target import EvalTarget, split_to_probe, splits_to_evaluate
from lowmed.plan.sequence_lengths import sequence_lengths
from lowmed.recipe import Recipe
from lowmed.report import run_data
from lowmed.run import Run, create_run


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    slake = slake_with_images(tmp_path / "slake")
    sources = (
        f"{{source: vqa-rad, path: {FIXTURES / 'vqa-rad'}, share: 0.5}}, "
        f"{{source: slake, path: {slake}, share: 0.3, train_limit: 60}}, {{source: phantom, share: 0.2}}"
    )
    overrides = [f"data.sources=[{sources}]", "data.max_rejected=0.01", "prompts.train=direct", "prompts.infer=direct"]
    return lowmed.load_recipe(
        "rl-plain", [*overrides, "method.max_steps=4", "method.rewards=[{name: accuracy}]"], nano=True
    )


@pytest.fixture
def run(recipe: Recipe, tmp_path: Path) -> Run:
    """A run that has stored its data and has not trained."""
    made = create_run(recipe, "mixed", out=str(tmp_path / "run"))
    store_data(made.folder, for_recipe(recipe).split)
    return made


def target(run: Run) -> EvalTarget:
    return EvalTarget(run.recipe.model, run.recipe.prompts.asking, run.recipe.eval, run, {"tuned": None})


def test_the_check_states_what_is_drawn_from_each_source(recipe: Recipe) -> None:
    text = "\n".join(lowmed.check(recipe).draws)
    draws = recipe.method.max_steps * recipe.method.prompts_per_step
    assert f"share 0.300 of {draws} draws: 60 questions on" in text
    assert "repeated very often" not in text
    often = recipe.method.model_copy(update={"max_steps": 400})
    notes = lowmed.check(recipe.model_copy(update={"method": often})).draws
    assert [line.split()[0] for line in notes if "repeated very often" in line] == ["slake"]


def test_a_source_of_the_run_is_evaluated_on_its_held_out_questions_only(run: Run) -> None:
    [(both, seen)] = splits_to_evaluate(target(run), None, None, None)
    [(only, seen_too)] = splits_to_evaluate(target(run), "slake", None, None)
    assert seen == seen_too == "seen in training"
    assert only.source == "slake"
    assert {sample.source for part in only.held_out.values() for sample in part} == {"slake"}
    assert len(only.held_out["held-out"]) < len(both.held_out["held-out"])
    assert set(only.held_out) == {"held-out", "validation", "test"}, "named as in a run on SLAKE alone"
    probed, _ = split_to_probe(target(run), "slake", None, 10)
    assert {sample.source for sample in probed.held_out["train"]} == {"slake"}
    every, _ = split_to_probe(target(run), None, None, 30)
    assert len({sample.source for sample in every.held_out["train"]}) == 3, "the first questions are of all sources"


def test_another_copy_of_a_source_must_have_the_same_content(run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (tmp_path / "slake").rename(moved)
    [(split, _)] = splits_to_evaluate(target(run), None, f"slake={moved}", None)
    assert "test (slake)" in split.held_out
    [(alone, _)] = splits_to_evaluate(target(run), f"slake={moved}", None, None)
    assert alone.source == "slake"
    with pytest.raises(lowmed.LowmedError, match="does not say which of the sources vqa-rad, slake, phantom is there"):
        splits_to_evaluate(target(run), None, str(moved), None)
    rows = json.loads((moved / "train.json").read_text())
    rows[0]["question"] = "What is this?"
    (moved / "train.json").write_text(json.dumps(rows))
    with pytest.raises(lowmed.LowmedError, match="not the data that the run was trained on"):
        splits_to_evaluate(target(run), None, f"slake={moved}", None)


def test_the_page_describes_the_data_and_names_no_folder(run: Run, tmp_path: Path) -> None:
    summary = run_data.data_summary(run)
    assert "missing" not in summary
    assert summary["leaks"]
    assert all("(vqa-rad)" in leak or "vqa-rad" in leak for leak in summary["leaks"]), "the published test part leaks"
    text = report(run.folder).page.read_text()
    assert "vqa-rad+slake+phantom" in text
    for path in (str(tmp_path), "fixtures", "slake_with"):
        assert path not in text


def test_the_plan_takes_the_longest_rows_of_all_sources(recipe: Recipe) -> None:
    lengths = sequence_lengths(recipe)
    assert lengths.image == recipe.model.max_image_tokens
    assert "phantom: generated images" in lengths.source


@pytest.mark.slow
def test_a_mixture_trains_and_evaluates_by_source(recipe: Recipe, tmp_path: Path) -> None:
    lines: list[str] = []
    run = lowmed.train(recipe, tmp_path / "trained", log=lines.append)
    assert any(line.startswith("draws   vqa-rad  share 0.500") for line in lines)
    assert run.record.source_shares == {"vqa-rad": 0.5, "slake": 0.3, "phantom": 0.2}
    by_step = [{name for name in row if name.startswith("source/")} for row in run.rows("metrics.jsonl")]
    assert set().union(*by_step) == {"source/vqa-rad/reward", "source/slake/reward", "source/phantom/reward"}
    drawn = [row["source"] for row in run.rows("rollouts.jsonl")]
    assert abs(drawn.count("vqa-rad") / len(drawn) - 0.5) <= 1 / (4 * recipe.method.prompts_per_step)
    [evaluated] = lowmed.evaluate(run.folder, questions=30, controls=0)
    assert set(evaluated.splits["held-out"].results["tuned"].by_strata["source"]) == {"vqa-rad", "slake", "phantom"}
    assert "source" not in evaluated.splits["test (slake)"].results["tuned"].by_strata
    page = report(run.folder).page.read_text()
    assert "source: slake" in page
    assert "Reward by source" in page
    card = (run.adapter / "README.md").read_text()
    assert "license of slake | CC BY 4.0" in card
    assert "license of vqa-rad | CC0" in card
