"""Metrics of boxes: by hand on small rows, next to baselines, and in the tables."""

import json
from pathlib import Path
from typing import Any

import pytest
from ship import finished
from typer.testing import CliRunner

import lowmed
from lowmed.api.report import report as write_report
from lowmed.cli import app
from lowmed.data.answer_prior import AnswerPrior, answer_prior_accuracy
from lowmed.data.for_recipe import for_recipe
from lowmed.data.run_identity import store_data
from lowmed.evaluation.box_difference import iou_difference
from lowmed.evaluation.controls import flipped
from lowmed.evaluation.metrics import metrics, prediction, scored
from lowmed.evaluation.report import no_image_floor
from lowmed.evaluation.score_summary import summarize
from lowmed.nano import phantom
from lowmed.report.box_table import box_rows
from lowmed.sample import Sample

RIGHT = '<answer>[{"bbox_2d": [100, 100, 300, 300], "label": "liver"}]</answer>'


def sample(number: int, answer: str, question: str = "Where is the liver?") -> Sample:
    return Sample(
        str(number), question, answer, "boxes", f"g{number}", "made", images=(f"{number}",), image_size=(200, 100)
    )


LIVER = '[{"bbox_2d": [20, 10, 60, 30], "label": "liver"}]'  # 100 to 300 of 1000


def row(number: int, answer: str, completion: str, **changes: Any) -> dict[str, Any]:
    return {**prediction(sample(number, answer), "test", completion, 1, "stop"), **changes}


ROWS = [
    row(1, LIVER, RIGHT),
    row(2, LIVER, '<answer>[{"bbox_2d": [200, 100, 400, 300]}]</answer>'),  # overlaps by 1/3
    row(3, LIVER, "<answer>none</answer>"),
    row(4, LIVER, "<answer>upper left</answer>"),
    row(5, "[]", "<answer>none</answer>"),
    row(6, "[]", RIGHT),
    row(7, LIVER, '<answer>[[100, 100, 300, 300], [900, 900, 1100, 1000]]</answer>'),
]  # fmt: skip


def test_metrics_by_hand() -> None:
    result = metrics(scored(ROWS)).boxes
    assert result is not None
    assert (result.questions, result.with_boxes) == (7, 5)
    values = [result.read, result.iou, result.recall, result.precision, result.none_right]
    expected = [6 / 7, (1 + 1 / 3 + 0 + 0 + 1 / 2) / 5, 2 / 5, 2 / 5, 1 / 2]
    assert [value.value for value in values if value] == pytest.approx(expected)
    assert all(value.by_image[0] <= value.value <= value.by_image[1] for value in values if value)
    assert result.mean_average_precision == pytest.approx(2 / 5 * 2 / 5)
    assert result.outside == pytest.approx(1 / 5)
    assert result.baselines.complete_image is not None
    assert result.baselines.complete_image.value == pytest.approx(40 * 20 / (200 * 100))
    assert result.baselines.mean_box is None


def test_accuracy_is_that_of_all_boxes_of_a_question() -> None:
    outcomes = [one["outcome"] for one in scored(ROWS)]
    assert outcomes == ["correct", "incorrect", "incorrect", "unread", "correct", "incorrect", "incorrect"]


def test_average_precision_is_by_label() -> None:
    two = '[{"bbox_2d": [20, 10, 60, 30], "label": "liver"}, {"bbox_2d": [120, 10, 160, 30], "label": "heart"}]'
    written = RIGHT.replace("liver", "Liver").replace("}]", '}, {"bbox_2d": [600, 100, 800, 300], "label": "lung"}]')
    result = metrics(scored([row(1, two, written)])).boxes
    assert result is not None
    assert result.mean_average_precision == pytest.approx((1.0 + 0.0) / 2)


def test_rows_of_a_file_need_no_size_if_gold_and_answer_share_their_unit(tmp_path: Path) -> None:
    plain = {
        "id": "1",
        "kind": "boxes",
        "question": "Where?",
        "answer": LIVER,
        "completion": f"<answer>{LIVER}</answer>",
    }
    [one] = scored([{**plain, "finish_reason": "stop"}])
    assert one["outcome"] == "correct"
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in ROWS))
    printed = CliRunner().invoke(app, ["score", str(file), "--out", str(tmp_path / "out")]).stdout
    assert "7 questions about boxes" in printed
    assert "  mean IoU                                    0.367 [" in printed
    assert summarize(scored(ROWS)).boxes is not None
    [first, *_] = [json.loads(line) for line in (tmp_path / "out/scored.jsonl").read_text().splitlines()]
    assert first["boxes"] == {"gold": 1, "predicted": 1, "iou": 1.0, "right": 1, "outside": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": [10, 10]}, "outside of the image of 10 x 10"),
        ({"image_size": "200x100"}, "not a width and a height"),
        ({"box_grid": [0, 5]}, "not a width and a height"),
        ({"answer": "a box"}, "not a list of boxes"),
    ],
)
def test_rows_that_cannot_be_graded_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({**ROWS[0], **changes}) + "\n")
    result = CliRunner().invoke(app, ["score", str(file)])
    assert message in str(result.exception)
    assert "rows.jsonl:1" in str(result.exception)


def test_the_prior_of_boxes_is_the_mean_training_box() -> None:
    train = [sample(1, LIVER), sample(2, '[{"bbox_2d": [40, 10, 80, 30], "label": "liver"}]'), sample(3, "[]")]
    other = sample(4, '[{"bbox_2d": [100, 50, 180, 90], "label": "heart"}]', "Where is the heart?")
    prior = AnswerPrior([*train, other])
    assert prior.answer(sample(9, LIVER)) == '[{"bbox_2d": [150, 100, 350, 300]}]'
    assert prior.answer(sample(9, LIVER, "Where is the heart?")) == '[{"bbox_2d": [500, 500, 900, 900]}]'
    assert answer_prior_accuracy([*train, other], [sample(9, LIVER), other, sample(8, "[]")]) == pytest.approx(2 / 3)
    rows = [row(1, LIVER, RIGHT, prior=prior.answer(sample(9, LIVER)))]
    result = metrics(scored(rows)).boxes
    assert result is not None
    assert result.baselines.mean_box is not None
    assert result.baselines.mean_box.value == pytest.approx(30 / 50)


def test_the_floor_of_accuracy_is_the_better_constant_answer() -> None:
    box = AnswerPrior([sample(1, LIVER)]).answer(sample(2, LIVER))
    rows = scored([row(1, LIVER, RIGHT, prior=box), row(2, "[]", RIGHT, prior=box), row(3, "none", RIGHT, prior=box)])
    assert no_image_floor(rows) == pytest.approx(2 / 3)
    assert no_image_floor(rows[:1]) == 1.0


def test_a_mirrored_image_has_mirrored_boxes_and_exchanged_sides() -> None:
    question = sample(1, '[{"bbox_2d": [20, 10, 60, 30], "label": "left lung"}]', "Where is the left lung?")
    mirrored = flipped(question)
    assert mirrored is not None
    assert mirrored.question == "Where is the right lung?"
    assert mirrored.answer == '[{"bbox_2d": [140, 10, 180, 30], "label": "right lung"}]'
    assert flipped(mirrored) == question
    assert flipped(sample(1, "[]")) is None


def test_tables_have_no_rows_without_boxes() -> None:
    plain = {"id": "1", "question": "Is it?", "answer": "yes", "completion": "yes", "finish_reason": "stop"}
    other = metrics(scored([{**plain, "kind": "closed", "group": "g"}]))
    assert other.boxes is None
    assert box_rows([None, other.boxes]) == []
    labels = [label for label, _ in box_rows([metrics(scored(ROWS)).boxes, None])]
    assert labels[0] == "mean IoU"
    assert "right none, of 2 questions without boxes" in labels


def test_the_best_answers_to_phantom_have_a_mean_overlap_near_one() -> None:
    samples = phantom.box_samples("test", 60)
    rows = [prediction(one, "test", f"<answer>{one.written_answer}</answer>", 1, "stop") for one in samples]
    result = metrics(scored(rows)).boxes
    assert result is not None
    assert result.iou is not None
    assert result.iou.value > 0.97
    assert (result.mean_average_precision, result.none_right and result.none_right.value) == (1.0, 1.0)


def test_an_evaluation_of_boxes_is_stored_and_scored_again(tmp_path: Path) -> None:
    run = finished.run(tmp_path / "run", "data.source=phantom-boxes", "prompts.train=boxes", "prompts.infer=boxes")
    data_split = for_recipe(run.recipe, filtered=False).split
    run.update(data_digest=data_split.digest)
    store_data(run.folder, data_split)
    [first] = lowmed.evaluate(run.folder, questions=3, controls=3)
    assert first.splits["test"].results["tuned"].boxes is not None
    baselines = first.splits["test"].results["tuned"].boxes.baselines
    assert baselines.mean_box is not None
    assert baselines.complete_image is not None
    [again] = lowmed.evaluate(run.folder, questions=3, controls=3, rescore=True)
    assert again == first
    page = write_report(run.folder).page.read_text(encoding="utf-8")
    assert "boxes: mean IoU" in page


def test_two_systems_are_compared_by_their_mean_iou() -> None:
    better = scored([row(number, LIVER, RIGHT) for number in range(8)] + [row(9, "[]", RIGHT)])
    worse = scored([row(number, LIVER, "<answer>none</answer>") for number in range(8)] + [row(9, "[]", RIGHT)])
    change = iou_difference(worse, better)
    assert change is not None
    assert (change.questions, change.first, change.second, change.difference) == (8, 0.0, 1.0, 1.0)
    assert change.by_image[0] > 0.2
    assert change.p_by_image == pytest.approx(2 / 2**8)
    assert iou_difference(better[8:], worse[8:]) is None
