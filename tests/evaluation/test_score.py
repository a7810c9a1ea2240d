"""Scoring stored completions: analytic predictors, published metrics, rows of other tools, damaged lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.errors import DataError
from lowmed.evaluation.prediction_file import load
from lowmed.evaluation.score import score_row, score_rows
from lowmed.evaluation.score_summary import summarize

PREDICTIONS = Path(__file__).parents[3] / "shared" / "predictions"
OPTIONS = ["Pneumothorax", "Pleural effusion", "Cardiomegaly", "No finding"]


def _rows(answer: Callable[[dict[str, Any]], str]) -> list[dict[str, Any]]:
    """Forty choices with each letter right ten times, forty yes/no half yes, forty open, forty JSON questions."""
    rows: list[dict[str, Any]] = []
    for number in range(40):
        rows += [
            {"question": "Which?", "options": OPTIONS, "answer": "ABCD"[number % 4], "kind": "choice"},
            {"question": "Is it?", "answer": ("yes", "no")[number % 2], "kind": "closed"},
            {"question": "Where?", "answer": f"left lobe {number}", "kind": "open"},
            {"question": "Report.", "answer": {"count": number}, "kind": "json"},
        ]
    return [{"id": str(at), **row, "completion": answer(row)} for at, row in enumerate(rows)]


def _metric(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    by_kind = summarize(score_rows(rows)).by_kind
    return {kind: getattr(metrics, name) for kind, metrics in by_kind.items()}


def _text(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer)


def test_a_perfect_predictor_gets_full_accuracy() -> None:
    rows = _rows(lambda row: f"<think>So it is.</think><answer>{_text(row['answer'])}</answer>")
    for metric in ("accuracy", "strict_accuracy"):
        assert _metric(rows, metric) == {"choice": 1, "closed": 1, "json": 1, "open": 1}
    assert summarize(score_rows(rows)).token_f1 == 1


@pytest.mark.parametrize(
    "completion", ["", " ", "<answer></answer>", "I cannot determine.", ":", "<think>B yes left lobe 3"]
)
def test_an_empty_predictor_is_unread(completion: str) -> None:
    rows = _rows(lambda _: completion)
    assert _metric(rows, "accuracy") == {"choice": 0, "closed": 0, "json": 0, "open": 0}
    assert _metric(rows, "unread_rate") == {"choice": 1, "closed": 1, "json": 1, "open": 1}
    assert _metric(rows, "token_f1") == {"choice": None, "closed": None, "json": None, "open": 0}


@pytest.mark.parametrize(
    ("completion", "accuracy", "unread"),
    [
        ("A", {"choice": 0.25, "closed": 0, "json": 0, "open": 0}, {"choice": 0, "closed": 1, "json": 1, "open": 0}),
        ("yes", {"choice": 0, "closed": 0.5, "json": 0, "open": 0}, {"choice": 1, "closed": 0, "json": 1, "open": 0}),
        (
            "left lobe 7",
            {"choice": 0, "closed": 0, "json": 0, "open": 1 / 40},
            {"choice": 1, "closed": 1, "json": 1, "open": 0},
        ),
        (
            '{"count": 7}',
            {"choice": 0, "closed": 0, "json": 1 / 40, "open": 0},
            {"choice": 1, "closed": 1, "json": 0, "open": 0},
        ),
    ],
)
def test_a_constant_predictor_gets_exactly_its_share(
    completion: str, accuracy: dict[str, float], unread: dict[str, float]
) -> None:
    rows = _rows(lambda _: completion)
    assert _metric(rows, "accuracy") == accuracy
    assert _metric(rows, "unread_rate") == unread


def test_a_predictor_that_gives_every_answer_equally_often_gets_chance() -> None:
    rows = [
        {"id": f"{gold}{text}", "question": "?", "options": OPTIONS, "answer": gold, "completion": text}
        for gold in "ABCD"
        for text in "ABCD"
    ]
    rows += [
        {"id": gold + text, "question": "?", "answer": gold, "completion": text}
        for gold in ("yes", "no")
        for text in ("Yes.", "No.")
    ]
    assert _metric(rows, "accuracy") == {"choice": 0.25, "closed": 0.5}


@pytest.mark.skipif(not PREDICTIONS.exists(), reason="../shared/predictions is absent")
@pytest.mark.parametrize(
    ("name", "closed"),
    [("vqa-rad-qwen2-vl-2b", 0.5657), ("vqa-rad-qwen2-vl-2b-lora-r4", 0.7570), ("vqa-rad-qwen2-vl-2b-lora-r8", 0.7371)],
)
def test_published_closed_accuracies_are_reproduced(name: str, closed: float) -> None:
    path = PREDICTIONS / f"{name}.jsonl"
    metrics = summarize(score_rows(load(path))).by_kind["closed"]
    assert metrics.n == 251
    assert metrics.accuracy == pytest.approx(closed, abs=5e-5)


# Completions whose published verdict is wrong: they name the gold option after repeating the options, or next to
# letters of options that they reject; and one that gives one option's letter with another option's text.
MISJUDGED = {
    "gmai-qwen2-vl-2b": [],
    "gmai-huatuogpt-vision-7b": [
        *(16, 41, 499, 704, 727, 952, 1212, 1215, 1400),
        *(2454, 2495, 2531, 3205, 3377, 3722, 3782, 4454),
    ],
}


@pytest.mark.skipif(not PREDICTIONS.exists(), reason="../shared/predictions is absent")
@pytest.mark.parametrize("name", MISJUDGED)
def test_grades_differ_from_published_verdicts_only_where_those_are_wrong(name: str) -> None:
    rows = score_rows(load(PREDICTIONS / f"{name}.jsonl"))
    differing = [row["id"] for row in rows if (row["outcome"] == "correct") != bool(row["published_correct"])]
    assert differing == [f"gmai-{number}" for number in MISJUDGED[name]]


def test_fields_and_order_are_kept() -> None:
    rows = [
        {"id": 2, "question": "?", "answer": "yes", "completion": "yes", "seed": 7, "group": "p1", "flags": "mine"},
        {"id": 1, "question": "?", "answer": "no", "completion": None},
    ]
    scored = list(score_rows(rows))
    assert scored[0] == {
        "id": 2,
        "question": "?",
        "answer": "yes",
        "completion": "yes",
        "seed": 7,
        "group": "p1",
        "kind": "closed",
        "outcome": "correct",
        "strict_outcome": "unread",
        "parsed": "yes",
        "parse_source": "whole",
        "flags": [],
        "tier": "exact",
        "f1": None,
        "fields": None,
        "boxes": None,
        "report": None,
        "contradiction": [],
    }
    assert (scored[1]["id"], scored[1]["outcome"], scored[1]["flags"]) == (1, "unread", ["empty"])
    assert "group" not in scored[1]


@pytest.mark.parametrize(
    ("row", "kind", "outcome"),
    [
        ({"answer": "B", "options": ["CT", "MRI"], "completion": "MRI"}, "choice", "correct"),
        ({"answer": "mri.", "options": ["CT", "MRI"], "completion": "B"}, "choice", "correct"),
        ({"answer": ["MRI", "CT"], "options": ["CT", "MRI", "US"], "completion": "A"}, "choice", "correct"),
        ({"answer": "C", "completion": "The answer is C."}, "choice", "correct"),
        ({"answer": "C", "completion": "a chest film"}, "choice", "unread"),
        ({"answer": ["B"], "options": ["A", "AB", "B"], "completion": "C"}, "choice", "correct"),
        ({"answer": True, "completion": "Yes, it is"}, "closed", "correct"),
        ({"answer": "N", "completion": "No."}, "closed", "correct"),
        ({"answer": 2, "completion": "two"}, "open", "correct"),
        ({"answer": ["heart", "cardiac silhouette"], "completion": "The cardiac silhouette."}, "open", "correct"),
        ({"answer": "a, b", "completion": "b and a"}, "open", "correct"),
        ({"answer": {"a": 1}, "completion": '{"a": 1.0}'}, "json", "correct"),
        ({"answer": [1, 2], "completion": "[2, 1]"}, "json", "incorrect"),
        ({"answer": "yes", "kind": "open", "completion": "Yes, it is"}, "open", "incorrect"),
        ({"answer": "yes", "completion": "yes", "finish_reason": "length"}, "closed", "unread"),
        ({"answer": "yes", "completion": "yes", "finish_reason": "max_tokens"}, "closed", "unread"),
    ],
)
def test_rows_of_other_tools_are_understood(row: dict[str, Any], kind: str, outcome: str) -> None:
    scored = score_row({"id": "1", "question": "?", **row}, "row:1")
    assert (scored["kind"], scored["outcome"]) == (kind, outcome)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"answer": "yes"}, "no completion"),
        ({"completion": "yes"}, "no answer"),
        ({"answer": "", "completion": "yes"}, "the gold answer is empty"),
        ({"answer": None, "completion": "yes"}, "the gold answer is empty"),
        ({"answer": [], "completion": "yes"}, "the gold answer is empty"),
        ({"answer": "E", "options": ["CT", "MRI"], "completion": "A"}, "the gold answer 'E' is not among the options"),
        ({"answer": "B", "options": ["A", "AB", "B"], "completion": "B"}, "is a letter and also another option's text"),
        ({"answer": "A", "options": "CT", "completion": "A"}, "options is not a list of texts"),
        ({"answer": "yes", "kind": "vqa", "completion": "yes"}, "unknown kind 'vqa'"),
        ({"answer": "yes", "kind": ["open"], "completion": "yes"}, "unknown kind ['open']"),
        ({"answer": "yes", "completion": ["yes"]}, "completion is list, not a text"),
    ],
)
def test_invalid_rows_are_reported_with_their_line(row: dict[str, Any], what: str) -> None:
    good = {"id": "0", "question": "?", "answer": "yes", "completion": "yes"}
    with pytest.raises(DataError) as raised:
        list(score_rows([good, {"id": "1", "question": "?", **row}], "p.jsonl"))
    assert what in raised.value.what
    assert raised.value.where == "p.jsonl:2"


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"\xff", b'"text"', b"[" * 100_000])
def test_damaged_lines_are_reported_with_file_and_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"id": 1}\n' + line + b"\n")
    with pytest.raises(DataError) as raised:
        list(load(path))
    assert raised.value.where == f"{path}:2"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list(load(tmp_path / "none.jsonl"))


def test_a_summary_without_rows_has_no_shares() -> None:
    summary = summarize([])
    assert (summary.n, summary.accuracy, summary.by_kind) == (0, None, {})


def test_laterality_and_polarity_errors_are_counted() -> None:
    rows = [
        {"id": 1, "question": "?", "answer": "left lung", "completion": "right lung", "modality": "CT"},
        {"id": 2, "question": "?", "answer": "effusion", "completion": "no effusion", "modality": "CT"},
        {"id": 3, "question": "?", "answer": "effusion", "completion": "effusion", "modality": "MRI"},
        {"id": 4, "question": "?", "answer": "yes", "completion": "no"},
    ]
    summary = summarize(score_rows(rows))
    assert (summary.laterality_error_rate, summary.polarity_error_rate) == (0.25, 0.25)
    assert {name: cell.accuracy for name, cell in summary.by_modality.items()} == {"CT": 0, "MRI": 1}
    assert summary.truncated_rate == 0


@given(st.permutations(_rows(lambda row: "A" if row["kind"] == "choice" else "The answer is yes")[:24]))
def test_the_order_of_rows_does_not_matter(rows: list[dict[str, Any]]) -> None:
    assert summarize(score_rows(rows)) == summarize(score_rows(sorted(rows, key=lambda row: int(row["id"]))))


@given(st.text() | st.text("<>/answerABCD yesno\\boxed{}"))
def test_scoring_is_idempotent_and_shares_are_in_range(completion: str) -> None:
    rows = _rows(lambda _: completion)[:8]
    once = list(score_rows(rows))
    assert list(score_rows(once)) == once
    summary = summarize(once)
    names = ("accuracy", "strict_accuracy", "unread_rate", "truncated_rate", "token_f1")
    assert all(0 <= getattr(summary, name) <= 1 for name in names)
    assert sum(summary.outcomes.values()) == summary.n
