"""The probe's verdict for predictors with a known answer."""

import random
from pathlib import Path
from typing import Any

import pytest
import typer
from predictors import Look, Predict, answering, division, guessing, tagged
from typer.testing import CliRunner

from lowmed import prompt
from lowmed.cli.probe import probe as command
from lowmed.data.difficulty import filter_by_difficulty
from lowmed.data.split import training_questions_only
from lowmed.errors import DataError, LowmedError
from lowmed.evaluation import difficulty, results_folder, runner
from lowmed.evaluation.controls import REAL, SAMPLED, SAMPLED_BLIND, Condition
from lowmed.evaluation.metrics import scored
from lowmed.evaluation.probe import SUPPORT, probe, supported
from lowmed.evaluation.report import eval_settings
from lowmed.nano import phantom
from lowmed.progress import silent
from lowmed.recipe import DataSpec, EvalSpec, ModelSpec
from lowmed.sample import Sample

TRAIN = tuple(phantom.samples("train", 120))
K = 16
FAMILY = prompt.family("reasoning")


def _rows(folder: Path, predict: Predict) -> dict[str, list[dict[str, Any]]]:
    results_folder.open_folder(folder, eval_settings(ModelSpec(), FAMILY, division(TRAIN), max_new_tokens=64, seen=""))
    real = Condition(REAL, "train", TRAIN, phantom.open_image)
    sampled = Condition(SAMPLED, "train", TRAIN, phantom.open_image, K, 1.0)
    work = [real, sampled, runner.sampled_blind(real, K, 1.0)]
    runner.run_conditions(folder, "base", work, lambda: answering(predict), train=(), advance=lambda done, note: None)
    return {
        name: scored(results_folder.read_rows(results_folder.completions_file(folder, "base", name)))
        for name in (REAL, SAMPLED, SAMPLED_BLIND)
    }


def _looking(chance: float, seed: int = 0) -> Predict:
    """Correct with this probability if there is an image; otherwise a guess."""
    draw = random.Random(seed)

    def predict(sample: Sample, look: Look) -> str:
        del look
        if sample.images and draw.random() < chance:
            return tagged(sample, sample.answer)
        return tagged(sample, draw.choice(sample.options or ("yes", "no", "left", "right", "two", "upper left")))

    return predict


def test_a_model_that_is_at_times_correct_by_the_image_gets_rl(tmp_path: Path) -> None:
    result = probe(*_rows(tmp_path / "p", _looking(0.6)).values())["all"]
    assert result.verdict == "RL"
    assert result.support > 0.7
    assert result.by_k["16"].pass_rate == pytest.approx(1, abs=0.01)


def test_a_guesser_has_a_high_pass_at_k_and_no_support(tmp_path: Path) -> None:
    result = probe(*_rows(tmp_path / "p", guessing(3)).values())
    choice = result["by_kind"]["choice"]
    assert choice.by_k["16"].pass_rate > 0.99
    assert choice.by_k["16"].chance > 0.99
    assert choice.support < 0.12
    assert (choice.verdict, result["all"].verdict) == ("SFT first", "SFT first")


def test_a_model_that_needs_no_image_is_not_supported(tmp_path: Path) -> None:
    draw = random.Random(0)

    def predict(sample: Sample, look: Look) -> str:
        del look
        return tagged(sample, sample.answer if draw.random() < 0.6 else "nothing")

    result = probe(*_rows(tmp_path / "p", predict).values())["all"]
    assert result.by_k["1"].blind == pytest.approx(0.6, abs=0.05)
    assert (result.support < 0.12, result.verdict) == (True, "SFT first")


def test_a_model_that_is_always_correct_has_nothing_to_gain(tmp_path: Path) -> None:
    assert probe(*_rows(tmp_path / "p", _looking(1.0)).values())["all"].verdict == "neither"


def test_a_model_without_the_answer_format_gets_sft_first(tmp_path: Path) -> None:
    result = probe(*_rows(tmp_path / "p", lambda sample, look: sample.answer).values())["all"]
    assert (result.verdict, result.format_failure, result.acc_at_1) == ("SFT first", 1, 0)
    assert "no readable answer" in result.reason


def test_a_model_that_never_varies_gives_no_gradient(tmp_path: Path) -> None:
    def predict(sample: Sample, look: Look) -> str:
        del look
        return tagged(sample, sample.answer if sample.images and int(sample.id[-1]) < 7 else "nothing")

    result = probe(*_rows(tmp_path / "p", predict).values())["all"]
    assert (result.verdict, result.mixed) == ("neither", 0)


def test_the_threshold_is_an_argument(tmp_path: Path) -> None:
    rows = _rows(tmp_path / "p", _looking(0.6))
    assert probe(*rows.values(), support=1.0)["all"].verdict == "SFT first"


@pytest.mark.parametrize(
    ("right", "guess", "blind", "expected"),
    [
        (1, 0.0, 0, False), (3, 0.0, 0, True), (11, 0.5, 8, False),
        (13, 0.5, 8, True), (16, 0.5, 16, False), (0, 0.0, 0, False),
    ],
)  # fmt: skip
def test_support_exceeds_guessing_and_the_blind_model(right: int, guess: float, blind: int, expected: bool) -> None:
    assert supported(right, 16, guess, blind, 16) is expected


def test_pass_counts_drop_questions_always_or_never_correct(tmp_path: Path) -> None:
    def predict(sample: Sample, look: Look, draw: random.Random = random.Random(5)) -> str:  # noqa: B008
        del look
        right = {"count": False, "presence": True}.get(sample.topic, draw.random() < 0.5)
        return tagged(sample, sample.answer if right else "nothing")

    file = tmp_path / difficulty.FILE
    difficulty.write(file, _rows(tmp_path / "p", predict)[SAMPLED])
    never_probed = phantom.samples("train", 130)[120:]
    spec = DataSpec(source="phantom", difficulty=str(file))
    kept = filter_by_difficulty((*TRAIN, *never_probed), spec).kept
    assert kept == tuple(one for one in TRAIN if one.topic not in ("count", "presence"))
    with pytest.raises(DataError, match="always right, never right"):
        filter_by_difficulty([one for one in TRAIN if one.topic == "count"], spec)
    with pytest.raises(DataError, match="none of the training samples"):
        filter_by_difficulty(never_probed, spec)
    file.write_text('{"id": "1"}\n')
    with pytest.raises(DataError) as raised:
        filter_by_difficulty(TRAIN, spec)
    assert raised.value.where == f"{file}:1"
    with pytest.raises(DataError, match="does not exist"):
        filter_by_difficulty(TRAIN, DataSpec(source="phantom", difficulty=str(tmp_path / "none")))


def test_the_help_text_names_the_default_threshold() -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    assert f"default {SUPPORT:g}" in " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())


def test_a_probe_whose_pass_counts_are_not_written_is_not_finished(tmp_path: Path) -> None:
    """A bridge takes a folder with probe.json for a finished probe, and never writes the pass counts again."""
    from lowmed.engine import evaluator
    from lowmed.evaluation.target import EvalTarget

    settings = EvalSpec(max_new_tokens=4)
    target = EvalTarget(ModelSpec(name="nano"), prompt.family("direct"), settings, None, {"base": None})
    questions = training_questions_only(division((), phantom.samples("train", 1)), 1)

    def probe_it() -> None:
        evaluator.probe(target, questions, "", tmp_path, samples=2, temperature=1.0, support=None, progress=silent)

    probe_it()
    (tmp_path / "probe.json").unlink()
    (tmp_path / difficulty.FILE).unlink()
    (tmp_path / difficulty.FILE).mkdir()
    with pytest.raises((LowmedError, OSError)):
        probe_it()
    assert not (tmp_path / "probe.json").exists()
