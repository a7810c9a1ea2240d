"""`lowmed score` reads the forms of questions and gold answers that `lowmed data prepare` reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from lowmed.evaluation.prediction_file import read_predictions
from lowmed.evaluation.score import score_rows
from lowmed.evaluation.score_summary import summarize


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        ({"question": "Which?", "options": {"1": "CT", "2": "MRI"}, "answer": "2"}, "MRI", "CT"),
        ({"question": "Which?", "options": {"A": "CT", "B": "MRI"}, "answer": "B"}, "B", "A"),
        ({"question": "Which? 1) CT 2) MRI", "answer": "2"}, "MRI", "CT"),
        ({"question": "Which? a) CT b) MRI\nAnswer with the option's letter.", "answer": "b"}, "MRI", "CT"),
        ({"question": "Which? [A] CT [B] MRI", "answer": "B"}, "B", "A"),
        ({"question": "Which?", "option_a": "CT", "option_b": "", "option_c": "X-ray", "answer": "C"}, "X-ray", "CT"),
        ({"question": "Seen?", "answer": ["effusion", "fluid"]}, "fluid", "mass"),
        ({"question": "Seen?", "answer": "<think>x</think><answer>no</answer>"}, "no", "yes"),
        ({"question": "Image A: T1. Image B: T2. Which is bright?", "answer": "Image B"}, "Image B", "Image A"),
    ],
)
def test_every_form_is_scored(tmp_path: Path, row: dict[str, Any], right: str, wrong: str) -> None:
    file = tmp_path / "p.jsonl"
    rows = [{"id": text, **row, "completion": f"<answer>{text}</answer>"} for text in (right, wrong)]
    file.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    scored = list(score_rows(read_predictions(file).rows, str(file)))
    assert [each["outcome"] for each in scored] == ["correct", "incorrect"]
    assert summarize(scored).n == 2
