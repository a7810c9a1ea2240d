"""AUROC by DeLong against a worked example and scikit-learn; Brier score and calibration by hand."""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from predictors import division, evaluated, perfect, question_only

from lowmed.errors import RunError
from lowmed.evaluation.auroc import aurocs, delong_p
from lowmed.evaluation.compare import compare
from lowmed.evaluation.compare_inputs import load_systems
from lowmed.evaluation.probabilities import (
    auroc_difference,
    by_question,
    options_of,
    reliability,
    split_probabilities,
    youden_threshold,
)
from lowmed.evaluation.records import StoredProbabilities
from lowmed.evaluation.report import report
from lowmed.evaluation.score import score_rows
from lowmed.nano import phantom
from lowmed.report import compare_table, eval_table

ALONE = [str(at) for at in range(400)]


def _scores(seed: int, count: int, distance: float) -> tuple[list[float], list[bool]]:
    draw = random.Random(seed)
    positive = [draw.random() < 0.4 for _ in range(count)]
    return [round(draw.gauss(distance * one, 1), 1) for one in positive], positive


def test_delong_by_hand() -> None:
    """Positives 3, 5, 4 and negatives 1, 4: components of positives 1/2, 1, 3/4; of negatives 1, 1/2."""
    (one,), covariance = aurocs([[3, 5, 4, 1, 4]], [True, True, True, False, False], ALONE[:5])
    assert one.value == pytest.approx(0.75)
    assert covariance[0, 0] == pytest.approx(0.0625 / 3 + 0.125 / 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_that_of_scikit_learn_and_its_variance_that_of_a_bootstrap(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, positive = _scores(seed, 150, 1.0)
    (one,), covariance = aurocs([scores], positive, ALONE[:150])
    assert one.value == pytest.approx(metrics.roc_auc_score(positive, scores))
    assert one.interval[0] < one.value < one.interval[1]
    generator = np.random.default_rng(seed)
    areas = []
    for _ in range(300):
        drawn = generator.integers(0, 150, 150)
        (again,), _ = aurocs([np.asarray(scores)[drawn].tolist()], np.asarray(positive)[drawn].tolist(), ALONE[:150])
        areas.append(again.value)
    assert covariance[0, 0] ** 0.5 == pytest.approx(float(np.std(areas)), rel=0.25)


def test_repeated_questions_about_one_image_add_no_information() -> None:
    scores, positive = _scores(0, 100, 1.0)
    (once,), single = aurocs([scores], positive, ALONE[:100])
    (often,), repeated = aurocs([scores * 4], positive * 4, ALONE[:100] * 4)
    assert often.value == pytest.approx(once.value)
    assert repeated[0, 0] == pytest.approx(single[0, 0], rel=1e-9)


def test_a_perfect_order_has_an_interval_with_a_width() -> None:
    positive = [True] * 12 + [False] * 28
    (one,), _ = aurocs([[float(value) for value in positive]], positive, ALONE[:40])
    assert one.value == 1
    assert one.interval == pytest.approx((0.025 ** (1 / 12), 1))
    (constant,), _ = aurocs([[0.5] * 40], positive, ALONE[:40])
    assert constant.value == 0.5
    assert constant.interval[0] < 0.3
    (lone,), _ = aurocs([[1.0, 0.0, 0.0]], [True, False, False], ALONE[:3])
    assert lone.interval == (0, 1)


def test_systems_that_rank_alike_do_not_differ() -> None:
    scores, positive = _scores(1, 120, 1.0)
    worse, _ = _scores(2, 120, 0.0)
    (_, _), same = aurocs([scores, [3 * score + 7 for score in scores]], positive, ALONE[:120])
    assert same[0, 0] + same[1, 1] - 2 * same[0, 1] == pytest.approx(0, abs=1e-12)
    (good, bad), other = aurocs([scores, worse], positive, ALONE[:120])
    p = delong_p(bad.value - good.value, other, positive, ALONE[:120])
    assert p is not None
    assert p < 0.001
    assert delong_p(0.0, same, positive, ALONE[:120]) == 1
    assert delong_p(0.5, same * 0, positive, ALONE[:120]) is None


def _row(at: int, gold: str, **more: Any) -> dict[str, Any]:
    row = {
        "id": str(at),
        "question": "Effusion?",
        "answer": gold,
        "completion": "<answer>no</answer>",
        "kind": "closed",
    }
    return {**next(iter(score_rows([{**row, **more}]))), "group": str(at), "split": "test"}


def _line(row: dict[str, Any], *probabilities: float) -> StoredProbabilities:
    options = list(row["options"]) if row["kind"] == "choice" else ["yes", "no"]
    values = [math.log(one) - 5 for one in probabilities] or None  # log-probabilities of whole completions
    return {"split": "test", "id": row["id"], "options": options, "log_probs": values}


def test_brier_score_and_calibration_error_by_hand() -> None:
    rows = [_row(at, gold) for at, gold in enumerate(["yes", "yes", "no", "no", "no"])]
    lines = [_line(row, p, 1 - p) for row, p in zip(rows[:4], [0.9, 0.62, 0.68, 0.1], strict=True)]
    result = split_probabilities(rows, by_question([*lines, _line(rows[4])])).yes_no
    assert result is not None
    assert (result.questions, result.without) == (4, 1)
    assert result.brier == pytest.approx((0.1**2 + 0.38**2 + 0.68**2 + 0.1**2) / 4)
    assert [(part.low, part.questions, part.share) for part in result.bins] == [(0.1, 1, 0), (0.6, 2, 0.5), (0.9, 1, 1)]
    assert result.ece == pytest.approx((0.1 + 2 * 0.15 + 0.1) / 4)
    assert result.auroc is not None
    assert result.auroc.value == 0.75


def test_the_probability_of_a_choice_is_that_of_its_most_probable_option() -> None:
    options = ["CT", "MRI", "X-ray"]
    rows = [_row(at, gold, kind="choice", options=options) for at, gold in enumerate(["CT", "MRI"])]
    result = split_probabilities(rows, by_question(_line(row, 0.5, 0.25, 0.25) for row in rows))
    assert result.yes_no is None
    assert result.choice is not None
    assert (result.choice.auroc, result.choice.ece) == (None, 0)
    first, second = (0.5**2 + 2 * 0.25**2) / 2, (0.5**2 + 0.75**2 + 0.25**2) / 2
    assert result.choice.brier == pytest.approx((first + second) / 2)
    assert [(part.questions, part.probability, part.share) for part in result.choice.bins] == [(2, 0.5, 0.5)]


def test_classes_are_ranked_each_against_the_others() -> None:
    options = ["CT", "MRI", "X-ray"]
    golds = ["CT", "MRI"] * 6
    rows = [_row(at, gold, kind="choice", options=options) for at, gold in enumerate(golds)]
    lines = [_line(row, *((0.5, 0.2, 0.3) if at != 3 else (0.6, 0.3, 0.1))) for at, row in enumerate(rows)]
    [task] = split_probabilities(rows, by_question(lines)).tasks
    assert (task.classes, task.questions, set(task.auroc)) == (tuple(options), 12, {"CT", "MRI"})
    assert task.auroc["CT"].value == pytest.approx((5 / 6) * 0.5)  # one MRI is above all, ties count half
    assert task.auroc["MRI"].value == pytest.approx((1 / 6) + (5 / 6) * 0.5)
    assert task.macro_auroc.value == pytest.approx(0.5)
    assert task.macro_auroc.by_image[0] < 0.5 < task.macro_auroc.by_image[1]
    assert split_probabilities(rows[:9], by_question(lines)).tasks == ()
    assert split_probabilities(rows, by_question([])).tasks == ()


def test_a_threshold_is_chosen_on_dev_and_used_elsewhere() -> None:
    golds = ["yes", "yes", "yes", "no", "no", "no"]
    dev = [{**_row(at, gold), "split": "dev"} for at, gold in enumerate(golds)]
    lines: list[StoredProbabilities] = []
    for row, p in zip(dev, (0.9, 0.8, 0.4, 0.3, 0.2, 0.1), strict=True):
        lines.append({**_line(row, p, 1 - p), "split": "dev"})
    test = [_row(at, gold) for at, gold in enumerate(["yes", "yes", "no", "no", "yes"])]
    lines += [_line(row, p, 1 - p) for row, p in zip(test[:4], (0.36, 0.9, 0.34, 0.6), strict=True)]
    stored = by_question([*lines, _line(test[4])])
    result = split_probabilities(test, stored, dev).at_threshold
    assert result is not None
    assert result.threshold == pytest.approx(0.35)
    assert (result.dev_questions, result.dev_balanced_accuracy) == (6, 1.0)
    assert result.metrics.sensitivity is not None
    assert result.metrics.specificity is not None
    assert result.metrics.sensitivity.value == pytest.approx(2 / 3)  # one has no probabilities
    assert result.metrics.specificity.value == pytest.approx(1 / 2)
    assert split_probabilities(test, stored).at_threshold is None
    assert split_probabilities(test, stored, dev[:3]).at_threshold is None  # gold yes only
    assert split_probabilities(test, by_question([]), dev).at_threshold is None


@pytest.mark.parametrize(
    ("scores", "threshold"),
    [([0.1, 0.9], 0.5), ([0.6, 0.9], 0.75), ([0.9, 0.1], 0.5), ([0.5, 0.5], 0.5), ([0.2, 0.3], 0.25)],
)
def test_a_threshold_separates_the_two_answers_best(scores: list[float], threshold: float) -> None:
    assert youden_threshold(scores, [False, True])[0] == pytest.approx(threshold)


def test_a_probability_of_one_is_in_the_last_bin() -> None:
    assert [part.low for part in reliability([(0.0, False), (1.0, True)])] == [0, 0.9]


def test_yes_and_no_of_another_language_have_no_probabilities() -> None:
    assert options_of(_row(0, "Yes")) == ("yes", "no")
    assert options_of(_row(0, "nein")) == ()
    assert options_of(_row(0, "pneumonia", kind="open")) == ()


def test_with_one_gold_answer_there_is_no_area() -> None:
    rows = [_row(at, "no") for at in range(3)]
    stored = by_question(_line(row, 0.3, 0.7) for row in rows)
    result = split_probabilities(rows, stored).yes_no
    assert result is not None
    assert result.auroc is None
    assert auroc_difference((rows, stored), (rows, stored)) is None


@pytest.mark.parametrize("change", [{"options": ["no", "yes"]}, {"log_probs": [-1.0]}, {"log_probs": [-1.0] * 3}])
def test_probabilities_of_other_options_are_refused(change: Any) -> None:
    row = _row(0, "yes")
    line: Any = {**_line(row, 0.3, 0.7), **change}
    with pytest.raises(RunError, match="other options"):
        split_probabilities([row], by_question([line]))


def test_the_evaluation_shows_stored_probabilities_of_base_and_tuned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [sample for sample in phantom.samples("test", 120) if sample.kind in ("closed", "choice")]
    for system, predict in (("base", question_only), ("tuned", perfect)):
        evaluated(tmp_path / "e", division(samples), predict, controls=0, system=system)
        lines = []
        for at, sample in enumerate(samples):
            options = list(sample.options) or ["yes", "no"]
            if sample.answer in options:
                high = [2.0 * (option == sample.answer) * (at % 3 > 0 or system == "tuned") for option in options]
                lines.append({"split": "test", "id": sample.id, "options": options, "log_probs": high})
        (tmp_path / "e" / f"probabilities.{system}.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines)
        )
    stored = report(tmp_path / "e")
    difference = stored.splits["test"].auroc
    assert difference is not None
    assert difference.first < difference.second == 1
    assert difference.p_delong is not None
    eval_table.show_eval(stored)
    shown = " ".join(capsys.readouterr().out.split())
    assert "test, probabilities base tuned tuned - base" in shown
    assert "AUROC 0." in shown
    compared = compare(load_systems(tmp_path / "e" / "base.jsonl"), load_systems(tmp_path / "e"))
    assert compared.sources["phantom"].auroc == difference
    compare_table.show(compared)
    assert "yes/no AUROC" in capsys.readouterr().out
    (tmp_path / "e" / "probabilities.base.jsonl").write_text('{"split": "test", "id": "x", "options": ["yes"]}\n')
    with pytest.raises(RunError, match=r"log_probs|options"):
        report(tmp_path / "e")
