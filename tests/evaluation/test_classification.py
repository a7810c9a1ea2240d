"""Yes/no questions as a test and choices as classes, on predictors whose figures are known and against scikit-learn."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from predictors import constant, division, evaluated, perfect, question_only
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.evaluation.classification import classification
from lowmed.evaluation.classification_difference import classification_difference
from lowmed.evaluation.metrics import classification_columns
from lowmed.evaluation.records import Classification, EvalReport, Figure, YesNoMetrics
from lowmed.evaluation.report import report, write_report
from lowmed.evaluation.score import score_rows
from lowmed.nano import phantom
from lowmed.records import read_record
from lowmed.report import eval_table

GOLDS = ["yes"] * 12 + ["no"] * 28
TEST = phantom.samples("test", 240)
FIGURES = ("sensitivity", "specificity", "ppv", "npv", "f1", "balanced_accuracy")


def _rows(golds: Sequence[Any], completions: Sequence[str], per_image: int = 1, **more: Any) -> list[dict[str, Any]]:
    rows = [
        {"id": str(at), "question": "Is there an effusion?", "answer": gold, "completion": text, "kind": "closed"}
        for at, (gold, text) in enumerate(zip(golds, completions, strict=True))
    ]
    return [
        {"group": f"image {at // per_image}", **row}
        for at, row in enumerate(score_rows({**row, **more} for row in rows))
    ]


def _choices(options: Sequence[str], golds: Sequence[str], answers: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {**row, "kind": "choice", "question": "Which?", "options": [*options], "group": str(at)}
        for at, row in enumerate(
            score_rows(
                {"id": str(at), "question": "Which?", "answer": gold, "completion": text, "options": [*options]}
                for at, (gold, text) in enumerate(zip(golds, answers, strict=True))
            )
        )
    ]


def _of(rows: Sequence[dict[str, Any]]) -> Classification:
    result = classification(rows, classification_columns(rows))
    assert result is not None
    return result


def _test(rows: Sequence[dict[str, Any]]) -> YesNoMetrics:
    result = _of(rows).yes_no
    assert result is not None
    return result


def _values(test: YesNoMetrics) -> list[float | None]:
    figures: list[Figure | None] = [getattr(test, name) for name in FIGURES]
    return [figure.value if figure else None for figure in figures]


def test_always_yes_finds_everything_and_excludes_nothing() -> None:
    test = _test(_rows(GOLDS, ["<answer>yes</answer>"] * 40))
    assert _values(test) == pytest.approx([1, 0, 0.3, None, 2 * 0.3 / 1.3, 0.5])
    assert test.prevalence == 0.3
    assert test.sensitivity is not None
    assert test.sensitivity.by_image == pytest.approx((0.025 ** (1 / 12), 1))
    assert test.balanced_accuracy is not None
    assert test.balanced_accuracy.by_image[0] < 0.5 < test.balanced_accuracy.by_image[1]


def test_always_no_misses_everything() -> None:
    test = _test(_rows(GOLDS, ["No."] * 40))
    assert _values(test) == pytest.approx([0, 1, None, 0.7, 0, 0.5])
    assert (test.gold_yes.no, test.gold_no.no) == (12, 28)


@pytest.mark.parametrize("text", ["", "There is an effusion in the left hemithorax.", "I cannot tell."])
def test_answers_that_cannot_be_read_count_as_wrong_and_are_shown(text: str) -> None:
    test = _test(_rows(GOLDS, [text] * 40))
    assert _values(test) == [0, 0, 0, 0, 0, 0]
    assert (test.gold_yes.unread, test.gold_no.unread) == (12, 28)


def test_an_unread_answer_is_a_missed_positive_or_a_false_positive() -> None:
    golds = ["yes", "yes", "no", "no", "no"]
    test = _test(_rows(golds, ["yes", "", "no", "no", ""]))
    assert _values(test) == pytest.approx([1 / 2, 2 / 3, 1 / 2, 2 / 3, 1 / 2, 7 / 12])
    assert test.gold_yes.model_dump() == {"yes": 1, "no": 0, "unread": 1}
    assert test.gold_no.model_dump() == {"yes": 0, "no": 2, "unread": 1}


def test_with_one_gold_answer_half_of_the_figures_are_not_defined() -> None:
    assert _values(_test(_rows(["yes"] * 40, ["yes"] * 39 + ["no"]))) == pytest.approx(
        [39 / 40, None, 1, 0, 78 / 79, None]
    )
    assert _values(_test(_rows(["no"] * 40, ["no"] * 40))) == [None, 1, None, 1, None, None]


def test_one_image_gives_no_information_about_other_images() -> None:
    test = _test(_rows(GOLDS, GOLDS, per_image=40))
    assert [getattr(test, name).by_image for name in FIGURES] == [(0, 1)] * 6
    assert test.few


def test_questions_that_share_images_widen_every_interval() -> None:
    answers = [gold if at % 8 < 6 else "no" if gold == "yes" else "yes" for at, gold in enumerate(["yes", "no"] * 200)]
    alone, shared = (_test(_rows(["yes", "no"] * 200, answers, per_image)) for per_image in (1, 8))
    blocks = [gold if at // 8 % 4 else "no" if gold == "yes" else "yes" for at, gold in enumerate(["yes", "no"] * 200)]
    dependent = _test(_rows(["yes", "no"] * 200, blocks, 8))
    for name in FIGURES:
        widths = [getattr(test, name).by_image for test in (alone, dependent)]
        assert widths[1][1] - widths[1][0] > 1.5 * (widths[0][1] - widths[0][0]), name
        assert getattr(alone, name).value == pytest.approx(getattr(shared, name).value)


@pytest.mark.parametrize("seed", range(5))
def test_the_figures_are_those_of_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw = random.Random(seed)
    golds = draw.choices(["yes", "no"], [1, 2], k=60)
    answers = draw.choices(["yes", "no"], [1, 1], k=60)
    test = _test(_rows(golds, answers, per_image=3))
    expected = [
        metrics.recall_score(golds, answers, pos_label="yes"),
        metrics.recall_score(golds, answers, pos_label="no"),
        metrics.precision_score(golds, answers, pos_label="yes"),
        metrics.precision_score(golds, answers, pos_label="no"),
        metrics.f1_score(golds, answers, pos_label="yes"),
        metrics.balanced_accuracy_score(golds, answers),
    ]
    assert _values(test) == pytest.approx(expected)
    for name in FIGURES:
        low, high = getattr(test, name).by_image
        assert 0 <= low < getattr(test, name).value < high <= 1
    classes = ["drusen", "edema", "normal", "neovascularization"]
    golds, answers = draw.choices(classes[:3], [1, 2, 5], k=60), draw.choices(classes, [1, 1, 4, 1], k=60)
    (task,) = _of(_choices(classes, golds, answers)).tasks
    assert task.counts == tuple(
        (*row, 0) for row in metrics.confusion_matrix(golds, answers, labels=sorted(classes)).tolist()
    )
    assert task.macro_f1 is not None
    assert task.macro_f1.value == pytest.approx(metrics.f1_score(golds, answers, average="macro"))
    assert task.balanced_accuracy is not None
    recalls = metrics.recall_score(golds, answers, average=None, labels=classes[:3])  # no gold answer is the fourth
    assert task.balanced_accuracy.value == pytest.approx(recalls.mean())


def test_an_unread_choice_is_missed_and_belongs_to_no_other_class() -> None:
    golds = ["CT"] * 10 + ["MRI"] * 10
    (task,) = _of(_choices(["MRI", "CT", "X-ray"], golds, ["CT"] * 8 + [""] * 2 + ["MRI"] * 10)).tasks
    assert task.classes == ("CT", "MRI", "X-ray")
    assert task.counts == ((8, 0, 0, 2), (0, 10, 0, 0), (0, 0, 0, 0))
    x_ray, ct = task.by_class["X-ray"], task.by_class["CT"]
    assert (x_ray.gold, x_ray.answered, x_ray.sensitivity, x_ray.ppv, x_ray.f1) == (0, 0, None, None, None)
    assert (ct.sensitivity, ct.ppv) != (None, None)
    assert [getattr(ct, name).value for name in ("sensitivity", "ppv", "f1")] == pytest.approx([0.8, 1, 16 / 18])
    assert task.balanced_accuracy is not None
    assert task.balanced_accuracy.value == pytest.approx(0.9)


def test_a_task_needs_the_same_options_in_ten_questions() -> None:
    same = _choices(["CT", "MRI"], ["CT", "MRI"] * 5, ["CT"] * 10)
    assert [task.questions for task in _of(same).tasks] == [10]
    swapped = [{**row, "options": ["MRI", "CT"]} for row in same[:5]] + same[5:]
    assert [task.questions for task in _of(swapped).tasks] == [10]
    assert classification(same[:9], {}) is None
    other = [{**row, "options": ["CT", "MRI", f"option {at}"]} for at, row in enumerate(same)]
    assert classification(other, {}) is None
    (one_class,) = _of(_choices(["CT", "MRI"], ["CT"] * 10, ["CT"] * 10)).tasks
    assert (one_class.macro_f1, one_class.balanced_accuracy) == (None, None)
    assert one_class.by_class["CT"].sensitivity is not None


def test_letters_without_texts_are_not_classes() -> None:
    rows = [{**row, "group": row["id"]} for row in score_rows(
        {"id": str(at), "question": "Which?", "answer": "AB"[at % 2], "completion": "A"} for at in range(20)
    )]  # fmt: skip
    assert {row["kind"] for row in rows} == {"choice"}
    assert classification(rows, {}) is None


def test_only_yes_and_no_are_test_results() -> None:
    rows = _rows(["left", "right"] * 5, ["left"] * 10, question="Is it left or right?")
    assert classification(rows, {}) is None
    both = _rows([["yes", "no"]] * 10, ["yes"] * 10)
    assert classification(both, {}) is None
    assert _test(_rows([["yes", "present"], True, "No."], ["yes", "yes", "no"])).questions == 3


def test_findings_have_figures_of_their_own() -> None:
    rows = _rows(GOLDS, ["yes"] * 40)
    names = ["effusion"] * 20 + ["nodule"] * 19 + ["hernia"]
    by_finding = [{**row, "strata": {"finding": name}} for row, name in zip(rows, names, strict=True)]
    tests = _of(by_finding).yes_no_by
    assert set(tests) == {"finding"}
    assert {name: test.prevalence for name, test in tests["finding"].items()} == {
        "effusion": 0.6,
        "hernia": 0,
        "nodule": 0,
    }
    lone = tests["finding"]["hernia"]
    assert (lone.questions, lone.few, lone.sensitivity) == (1, True, None)
    assert lone.specificity is not None
    assert (lone.specificity.value, lone.specificity.by_image) == (0, (0, 1))


def test_a_system_does_not_differ_from_itself_by_a_point_without_width() -> None:
    rows = _rows(GOLDS, ["yes"] * 6 + ["no"] * 20 + ["yes"] * 14)
    change = classification_difference(rows, rows)
    assert change is not None
    assert change.yes_no is not None
    for name in FIGURES:
        difference = getattr(change.yes_no, name)
        assert difference.difference == 0
        assert difference.by_image[0] < -0.01 < 0.01 < difference.by_image[1], name


def test_differences_are_those_of_the_figures_and_mirror() -> None:
    draw = random.Random(3)
    golds = draw.choices(["yes", "no"], k=200)
    first = _rows(golds, draw.choices(["yes", "no", ""], [5, 5, 1], k=200), per_image=2)
    second = _rows(golds, [gold if draw.random() < 0.9 else "no" for gold in golds], per_image=2)
    forth, back = (classification_difference(*pair) for pair in ((first, second), (second, first)))
    assert forth is not None and forth.yes_no is not None
    assert back is not None and back.yes_no is not None
    for name, before, after in zip(FIGURES, _values(_test(first)), _values(_test(second)), strict=True):
        change, mirrored = getattr(forth.yes_no, name), getattr(back.yes_no, name)
        assert (change.first, change.second) == pytest.approx((before, after))
        low, high = change.by_image
        assert -1 <= low <= change.difference <= high <= 1
        assert mirrored.by_image == pytest.approx((-high, -low))
        assert low > 0, name  # the second system is better in every figure


def test_a_figure_that_one_system_lacks_has_no_difference() -> None:
    change = classification_difference(_rows(GOLDS, ["yes"] * 40), _rows(GOLDS, ["no"] * 40))
    assert change is not None
    assert change.yes_no is not None
    assert (change.yes_no.ppv, change.yes_no.npv) == (None, None)
    assert change.yes_no.sensitivity is not None
    assert change.yes_no.sensitivity.difference == -1
    assert change.yes_no.sensitivity.p_by_image == pytest.approx(2 / 2**12)
    assert change.yes_no.balanced_accuracy is not None
    assert change.yes_no.balanced_accuracy.difference == 0


def test_strict_differences_count_an_answer_without_a_tag_as_unread() -> None:
    bare, tagged = _rows(GOLDS, GOLDS), _rows(GOLDS, [f"<answer>{gold}</answer>" for gold in GOLDS])
    lenient, strict = (classification_difference(bare, tagged, field) for field in ("outcome", "strict_outcome"))
    assert lenient is not None and lenient.yes_no is not None and lenient.yes_no.f1 is not None
    assert strict is not None and strict.yes_no is not None and strict.yes_no.f1 is not None
    assert (lenient.yes_no.f1.difference, strict.yes_no.f1.difference) == (0, 1)


def test_the_evaluation_shows_the_figures_and_what_training_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(tmp_path / "e", division(TEST), constant("<answer>yes</answer>"), controls=0, system="base")
    evaluated(tmp_path / "e", division(TEST), perfect, controls=0, system="tuned")
    stored = write_report(tmp_path / "e")
    eval_table.show_eval(stored)
    shown = " ".join(capsys.readouterr().out.split())
    presence = [sample for sample in TEST if sample.topic == "presence"]
    share = sum(sample.answer == "yes" for sample in presence) / len(presence)
    assert f"test, yes/no, n={len(presence)}, prevalence {share:.3f} base tuned tuned - base" in shown
    assert "NPV not defined 1.000 [" in shown  # the base never answers no
    assert "+0.000 [" in shown
    assert "test, 3 classes: CT, MRI, X-ray, n=" in shown
    assert "An unread answer counts as the wrong one" in shown
    part = stored.splits["test"]
    assert part.classification is not None
    assert part.classification.yes_no is not None
    assert part.classification.yes_no.specificity is not None
    assert part.classification.yes_no.specificity.difference == 1


def test_systems_that_stored_their_answers_in_another_order_are_compared_by_question(tmp_path: Path) -> None:
    evaluated(tmp_path / "e", division(TEST), question_only, controls=0, system="base")
    evaluated(tmp_path / "e", division(TEST), perfect, controls=0, system="tuned")
    before = report(tmp_path / "e").splits["test"].classification
    file = tmp_path / "e" / "tuned.jsonl"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    assert report(tmp_path / "e").splits["test"].classification == before


def test_an_evaluation_of_an_earlier_version_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(tmp_path / "e", division(TEST[:60]), perfect, controls=0)
    write_report(tmp_path / "e")
    file = tmp_path / "e" / "report.json"
    content = json.loads(file.read_text())
    del content["splits"]["test"]["results"]["base"]["classification"]
    file.write_text(json.dumps(content))
    eval_table.show_eval(read_record(file, EvalReport))
    shown = capsys.readouterr().out
    assert "lenient accuracy" in shown
    assert "yes/no," not in shown


def test_data_without_yes_no_questions_store_and_show_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [sample for sample in TEST if sample.kind == "open"]
    result = evaluated(tmp_path / "e", division(samples), perfect, controls=0)
    assert "classification" not in result["splits"]["test"]["results"]["base"]
    eval_table.show_eval(report(tmp_path / "e"))
    assert "yes/no" not in capsys.readouterr().out


def test_a_finding_in_the_strata_of_samples_is_shown_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [
        replace(sample, strata=(("finding", "[b]mass" if at % 2 else "effusion"),)) for at, sample in enumerate(TEST)
    ]
    evaluated(tmp_path / "e", division(samples), question_only, controls=0)
    eval_table.show_eval(report(tmp_path / "e"))
    shown = capsys.readouterr().out
    assert "by finding: sensitivity, specificity" in shown
    assert "    [b]mass, n=" in shown


def test_score_and_compare_show_the_figures(tmp_path: Path) -> None:
    for name, texts in (("a", ["yes"] * 40), ("b", GOLDS)):
        rows = [
            {"id": at, "question": "Effusion?", "answer": gold, "completion": text, "strata": {"finding": "xy"[at % 2]}}
            for at, (gold, text) in enumerate(zip(GOLDS, texts, strict=True))
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        result = CliRunner().invoke(app, ["score", str(tmp_path / f"{name}.jsonl"), "--out", str(tmp_path / name)])
        assert result.exit_code == 0
    assert "yes/no, n=40, prevalence 0.300" in result.output
    assert "by finding: sensitivity, specificity" in result.output
    assert " x, n=20, prevalence 0.300 (few) 1.000 [" in " ".join(result.output.split())
    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    assert summary["classification"]["yes_no"]["gold_no"] == {"yes": 0, "no": 28, "unread": 0}
    compared = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--full"])
    lines = {line.split("  ")[1]: line for line in compared.output.splitlines() if line.startswith("  yes/no")}
    assert "+1.000 [" in lines["yes/no specificity"]
    assert "not defined" in lines["yes/no NPV"]
    assert "+0.500 [" in lines["yes/no balanced accuracy"]
