"""Open answers are counted in tiers, and each table names the tier."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.evaluation.open_tiers import open_tiers
from lowmed.evaluation.score import score_rows

ROWS = [
    {"id": 1, "question": "What is seen?", "answer": "pneumothorax", "completion": "Pneumothorax.", "kind": "open"},
    {"id": 2, "question": "What is seen?", "answer": "mass", "completion": "The film shows a mass.", "kind": "open"},
    {"id": 3, "question": "What is seen?", "answer": "mass", "completion": "There is no mass.", "kind": "open"},
    {"id": 4, "question": "Which side?", "answer": "left", "completion": "It is on the right side.", "kind": "open"},
    {"id": 5, "question": "Is it normal?", "answer": "no", "completion": "No.", "kind": "closed"},
]


def test_the_span_tier_counts_answers_inside_a_sentence_and_no_denials() -> None:
    rows = [{**row, "group": str(row["id"])} for row in score_rows(ROWS)]
    tiers = open_tiers(rows)
    assert tiers is not None
    assert (tiers.questions, tiers.exact.share, tiers.span.share) == (4, 0.25, 0.5)
    assert tiers.span.by_image[0] < 0.5 < tiers.span.by_image[1]
    assert open_tiers(rows[4:]) is None


def test_the_table_of_score_names_the_tiers(tmp_path: Path) -> None:
    file = tmp_path / "predictions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    output = CliRunner().invoke(app, ["score", str(file)]).output
    assert "open, exact" in output
    assert "open answers, n=4: exact or in a sentence" in output


@pytest.mark.parametrize("kind", ["number", "ordered"])
def test_other_kinds_have_no_span_tier(kind: str) -> None:
    [row] = score_rows([{"id": 1, "question": "?", "answer": "3, 4", "completion": "It is 4, 3", "kind": kind}])
    assert row["tier"] == "none"
