"""Comparison of two systems, with figures worked out by hand and published ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from predictors import constant, division, evaluated, perfect, question_only
from typer.testing import CliRunner

from lowmed.cli import score
from lowmed.cli.compare import compare as command
from lowmed.errors import RunError
from lowmed.evaluation.compare import compare
from lowmed.evaluation.compare_inputs import load_systems
from lowmed.evaluation.paired_tests import holm, mcnemar, questions_needed, sample_size, sign_flip
from lowmed.evaluation.report import report
from lowmed.nano import phantom

PREDICTIONS = Path(__file__).parents[3] / "shared" / "predictions"
TEST = phantom.samples("test", 120)


def _app() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("compare")(command)
    app.command("score")(score.score)
    return app


def _both(first: Path, second: Path, **more: bool) -> dict[str, Any]:
    return compare(load_systems(first), load_systems(second), **more).model_dump()


@pytest.mark.skipif(not PREDICTIONS.exists(), reason="../shared/predictions is absent")
def test_the_published_comparison_of_lora_and_zero_shot_is_reproduced(tmp_path: Path) -> None:
    run = CliRunner()
    for name in ("vqa-rad-qwen2-vl-2b", "vqa-rad-qwen2-vl-2b-lora-r4"):
        arguments = ["score", str(PREDICTIONS / f"{name}.jsonl"), "--out", str(tmp_path / name)]
        assert run.invoke(_app(), arguments, catch_exceptions=False).exit_code == 0
    folders = [str(tmp_path / "vqa-rad-qwen2-vl-2b"), str(tmp_path / "vqa-rad-qwen2-vl-2b-lora-r4")]
    result = run.invoke(_app(), ["compare", *folders, "--json"], catch_exceptions=False)
    closed = json.loads(result.stdout)["sources"]["all"]["by_kind"]["closed"]
    assert (closed["questions"], closed["only_first"], closed["only_second"]) == (251, 20, 68)
    assert closed["p_mcnemar"] == pytest.approx(2.77e-07, rel=0.005)
    assert closed["p_mcnemar"] < closed["p_by_image"] < 1e-4  # the 251 questions share images
    assert (round(closed["first"], 4), round(closed["second"], 4)) == (0.5657, 0.7570)
    low, high = closed["by_image"]
    assert 0.1 < low < 0.1912 < high < 0.29
    shown = run.invoke(_app(), ["compare", *folders, "--full"], catch_exceptions=False).stdout
    assert "B is better" in shown
    assert "2.77e-07" in shown
    assert "to correct" in shown


def test_changed_questions_are_counted_and_shown_each_way(tmp_path: Path) -> None:
    evaluated(tmp_path / "yes", division(TEST), constant("<answer>yes</answer>"), controls=0)
    evaluated(tmp_path / "habit", division(TEST), question_only, controls=0)
    result = _both(tmp_path / "yes", tmp_path / "habit")["sources"]["phantom"]
    yes = sum(sample.answer == "yes" for sample in TEST)
    habit = sum(sample.answer == phantom.HABITS[sample.topic] for sample in TEST)
    assert (result["all"]["only_first"], result["all"]["only_second"]) == (0, habit - yes)
    assert result["all"]["difference"] == pytest.approx((habit - yes) / len(TEST))
    assert len(result["flipped"]["to_correct"]) == 5
    assert result["flipped"]["to_incorrect"] == ()
    assert result["flipped"]["to_correct"][0]["first"] == "<answer>yes</answer>"
    back = _both(tmp_path / "habit", tmp_path / "yes")["sources"]["phantom"]
    assert back["flipped"]["to_incorrect"][0]["second"] == "<answer>yes</answer>"
    assert back["all"]["difference"] == -result["all"]["difference"]


def test_a_system_does_not_differ_from_itself(tmp_path: Path) -> None:
    evaluated(tmp_path / "e", division(TEST), question_only, controls=0)
    result = _both(tmp_path / "e", tmp_path / "e" / "base.jsonl")["sources"]["phantom"]
    assert (result["all"]["p_by_image"], result["all"]["p_mcnemar"], result["all"]["difference"]) == (1, 1, 0)
    low, high = result["all"]["by_image"]
    assert low == -high < 0  # equal answers to 120 questions do not prove that two systems never differ
    assert result["all"]["questions_needed"] is None


def test_strict_grades_differ_if_only_the_format_does(tmp_path: Path) -> None:
    evaluated(tmp_path / "tagged", division(TEST), perfect, controls=0)
    evaluated(tmp_path / "bare", division(TEST), lambda sample, look: sample.answer, controls=0)
    assert _both(tmp_path / "bare", tmp_path / "tagged")["sources"]["phantom"]["all"]["difference"] == 0
    strictly = _both(tmp_path / "bare", tmp_path / "tagged", strict=True)["sources"]["phantom"]
    assert strictly["all"]["difference"] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("prompt_digest", "other"), ("data_digest", "other"), ("max_image_tokens", 9), ("max_new_tokens", 9)],
)
def test_different_settings_are_rejected_and_named(tmp_path: Path, field: str, value: object) -> None:
    for name in ("a", "b"):
        evaluated(tmp_path / name, division(TEST), perfect, controls=0)
    file = tmp_path / "b" / "settings.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(RunError, match=field):
        _both(tmp_path / "a", tmp_path / "b")
    result = _both(tmp_path / "a", tmp_path / "b", allow_different=True)["sources"]["phantom"]
    assert any(field in one for one in result["differences"])


def test_different_answer_rules_are_rejected(tmp_path: Path) -> None:
    for name in ("a", "b"):
        evaluated(tmp_path / name, division(TEST), perfect, controls=0)
    report(tmp_path / "a").model_copy(update={"rules": 0}).write(tmp_path / "a" / "report.json")
    with pytest.raises(RunError, match="rules 0 and 3"):
        _both(tmp_path / "a", tmp_path / "b")


def test_questions_on_one_side_or_with_another_gold_answer_are_rejected(tmp_path: Path) -> None:
    rows = [
        {"id": str(at), "question": "?", "answer": "yes", "completion": "yes", "group": f"i{at}"} for at in range(4)
    ]
    for name, changed in (
        ("a", rows),
        ("fewer", rows[:3]),
        ("gold", [{**rows[0], "answer": "no"}, *rows[1:]]),
        ("image", [{**rows[0], "group": "other"}, *rows[1:]]),
        ("twice", [*rows, rows[0]]),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    for name, message in (
        ("fewer", "1 questions"),
        ("gold", "another text"),
        ("image", "2 questions"),
        ("twice", "share an id"),
    ):
        with pytest.raises(RunError, match=message):
            _both(tmp_path / "a", tmp_path / name)
    part = _both(tmp_path / "a", tmp_path / "gold", allow_different=True)["sources"]["all"]
    assert part["all"]["questions"] == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "does not exist"), ("empty", "no completions to compare"), ("run", "the run has no evaluation")],
)
def test_a_path_with_nothing_to_compare_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(RunError, match=message):
        load_systems(tmp_path / name)


def test_mcnemar_and_holm_agree_with_worked_examples() -> None:
    assert mcnemar(18, 30) == pytest.approx(0.111, abs=0.001)
    assert mcnemar(0, 0) == 1
    assert mcnemar(20, 68) == pytest.approx(2.77e-07, rel=0.005)
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})


def test_the_number_of_questions_needed_has_the_stated_power() -> None:
    import numpy as np

    n = sample_size(0.1, 0.3)
    assert sample_size(0.1, 0.3, 2.0) in (2 * n, 2 * n - 1)
    draws = np.random.default_rng(0).multinomial(n, [0.1, 0.2, 0.7], size=2000)
    result = np.mean([mcnemar(int(b), int(c)) < 0.05 for b, c, _ in draws])
    assert 0.77 < result < 0.84


def _paired(lost: int, gained: int, equal: int, per_image: int = 1) -> tuple[list[int], list[str]]:
    changes = [-1] * lost + [1] * gained + [0] * equal
    return changes, [str(number // per_image) for number in range(len(changes))]


def test_no_sample_size_is_given_from_too_few_data() -> None:
    assert questions_needed(*_paired(0, 4, 0)) is None  # n = 4
    assert questions_needed(*_paired(0, 20, 9)) is None  # under 30 questions
    assert questions_needed(*_paired(5, 15, 20, per_image=8)) is None  # under 10 images
    assert questions_needed(*_paired(3, 6, 200)) is None  # under 10 discordant questions
    assert questions_needed(*_paired(20, 20, 60)) is None  # no difference


@pytest.mark.parametrize(("lost", "gained", "equal"), [(4, 6, 20), (5, 12, 13), (10, 20, 70), (40, 55, 400)])
def test_a_difference_that_is_not_significant_needs_more_questions_than_it_has(
    lost: int, gained: int, equal: int
) -> None:
    changes, groups = _paired(lost, gained, equal)
    assert sign_flip(changes, groups) >= 0.05
    assert (questions_needed(changes, groups) or 0) > len(changes)


def test_shared_images_raise_the_number_of_questions_needed() -> None:
    changes = [1] * 14 + [-1] * 6 + [0] * 80
    alone = questions_needed(changes, [str(number) for number in range(100)])
    shared = questions_needed(changes, [str(number // 4) for number in range(100)])
    assert alone is not None
    assert shared is not None
    assert shared > alone


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (0, 5), (3, 9), (20, 68), (18, 30)])
def test_the_sign_flip_test_is_mcnemars_with_one_question_per_image(lost: int, gained: int) -> None:
    assert sign_flip(*_paired(lost, gained, 30)) == pytest.approx(mcnemar(lost, gained), rel=1e-9)


def test_the_sign_flip_test_counts_images() -> None:
    changes = [1] * 40 + [0] * 20
    groups = [str(number // 10) for number in range(60)]
    assert mcnemar(0, 40) < 1e-9
    assert sign_flip(changes, groups) == pytest.approx(2 / 2**4)  # four images changed, all the same way


def test_the_sign_flip_test_agrees_with_enumeration() -> None:
    from itertools import product

    changes, groups = [1, 1, -1, 1, 1, 1, -1, -1, 0, 1], list("aabbccddee")
    totals = [2, 0, 2, -2, 1]
    signs = list(product((-1, 1), repeat=len(totals)))
    sums = [abs(sum(sign * total for sign, total in zip(part, totals, strict=True))) for part in signs]
    assert sign_flip(changes, groups) == pytest.approx(sum(one >= 3 for one in sums) / len(sums))
