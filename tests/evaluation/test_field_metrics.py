"""Field metrics of JSON answers in `lowmed eval` and `lowmed score`."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.evaluation.field_metrics import field_metrics
from lowmed.evaluation.metrics import metrics, scored
from lowmed.evaluation.score import score_rows
from lowmed.evaluation.score_summary import summarize

GOLD = {"side": "left", "size": 3, "findings": ["mass", "scar"]}


def row(number: int, completion: object, gold: object = GOLD, kind: str = "json") -> dict[str, Any]:
    text = completion if isinstance(completion, str) else f"<answer>{json.dumps(completion)}</answer>"
    return {
        "id": str(number),
        "question": "Report it.",
        "answer": gold if isinstance(gold, str) else json.dumps(gold),
        "kind": kind,
        "completion": text,
        "finish_reason": "stop",
        "group": f"image {number % 5}",
    }


ROWS = [
    row(0, GOLD),  # 4 of 4, 4 in the gold answer
    row(1, {"side": "left", "size": "3", "findings": ["scar"]}),  # 2 of 3
    row(2, {"side": "right"}),  # 0 of 1
    row(3, "cannot tell"),  # unread
    row(4, GOLD | {f"padding {number}": number for number in range(8)}),  # 4 of 12
]


def test_precision_recall_and_f1_over_all_fields_and_as_means_of_documents() -> None:
    result = field_metrics(score_rows(ROWS))
    assert result is not None
    assert (result.documents, result.without_tree) == (5, 0)
    assert result.micro.precision.value == pytest.approx(10 / 20)
    assert result.micro.recall.value == pytest.approx(10 / 20)
    assert result.micro.f1.value == pytest.approx(20 / 40)
    assert result.mean.precision.value == pytest.approx((1 + 2 / 3 + 0 + 0 + 4 / 12) / 5)
    assert result.mean.recall.value == pytest.approx((1 + 2 / 4 + 0 + 0 + 1) / 5)
    assert result.mean.f1.value == pytest.approx((1 + 4 / 7 + 0 + 0 + 8 / 16) / 5)
    estimates = [
        getattr(scores, name) for scores in (result.micro, result.mean) for name in ("precision", "recall", "f1")
    ]
    assert all(0 <= one.by_image[0] < one.value < one.by_image[1] <= 1 for one in estimates)


def test_tree_similarity_is_the_mean_over_documents() -> None:
    result = field_metrics(score_rows(ROWS))
    assert result is not None
    assert result.tree_similarity is not None
    # 7 nodes below the root of the gold answer: 3 keys, 4 values. Row 1 has one wrong type and one missing text,
    # row 2 lacks 5 nodes and has a wrong value, row 4 has 16 nodes more.
    assert result.tree_similarity.value == pytest.approx((1 + (1 - 2 / 7) + (1 - 6 / 7) + 0 + 0) / 5)


def test_the_intervals_resample_images_and_not_fields() -> None:
    documents = [row(number, GOLD if number % 5 < 2 else {"side": "no", "size": 0}) for number in range(100)]
    result = field_metrics(score_rows(documents))
    assert result is not None
    low, high = result.micro.f1.by_image
    assert high - low > 0.5  # five images: the 100 documents are no 100 independent ones


def test_completions_without_a_tag_are_read_as_leniently_as_in_accuracy() -> None:
    fenced = f"```json\n{json.dumps(GOLD)}\n```"
    result = field_metrics(score_rows([row(0, json.dumps(GOLD)), row(1, fenced)]))
    assert result is not None
    assert result.micro.f1.value == 1.0


def test_empty_documents_match_each_other_only() -> None:
    for completion, value in (({"a": None}, 1.0), ({"a": 1}, 0.0), ("", 0.0)):
        result = field_metrics(score_rows([row(0, completion, {"a": None})]))
        assert result is not None
        assert (result.mean.f1.value, result.mean.precision.value, result.mean.recall.value) == (value, value, value)


def test_the_nearest_of_several_gold_answers_counts() -> None:
    golds = [json.dumps(GOLD), json.dumps({"side": "right"})]
    [graded] = score_rows([row(0, {"side": "right"}) | {"answer": golds}])
    assert (graded["fields"]["f1"], graded["fields"]["gold"]) == (1.0, 1)


def test_other_kinds_and_unusable_gold_answers_have_no_field_metrics() -> None:
    rows = scored([row(0, "<answer>left</answer>", "left", "open"), row(1, {"a": 1}, '{"a": 1, "A": 2}')])
    assert [one["fields"] for one in rows] == [None, None]
    assert field_metrics(rows) is None
    assert metrics([rows[0]]).fields is None
    assert "fields" not in metrics([rows[0]]).model_dump(exclude_unset=True)


def test_a_table_of_an_evaluation_counts_json_documents_only() -> None:
    rows = scored([*ROWS, row(9, "<answer>left</answer>", "left", "open")])
    result = metrics(rows)
    assert result.fields is not None
    assert (result.questions, result.fields.documents) == (6, 5)
    assert summarize(rows).fields == result.fields


def test_score_prints_and_writes_the_field_metrics(tmp_path: Path) -> None:
    file = tmp_path / "completions.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in ROWS))
    printed = CliRunner().invoke(app, ["score", str(file), "--out", str(tmp_path / "out")]).stdout
    assert "fields of 5 JSON answers" in printed
    assert "  field F1, all fields                0.500 [" in printed
    assert "  tree similarity, mean of documents  0.371 [" in printed
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["fields"]["micro"]["f1"]["value"] == 0.5
    assert summary["by_kind"]["json"]["fields"]["documents"] == 5
    lines = [json.loads(line) for line in (tmp_path / "out/scored.jsonl").read_text().splitlines()]
    assert lines[1]["fields"] == {
        "shared": 2,
        "predicted": 3,
        "gold": 4,
        "f1": pytest.approx(4 / 7),
        "tree_similarity": pytest.approx(5 / 7),
    }
