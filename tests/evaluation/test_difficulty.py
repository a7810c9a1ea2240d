"""The difficulty file that a probe writes."""

import json
from pathlib import Path

from lowmed.data.difficulty import read_pass_rates
from lowmed.evaluation import difficulty


def test_one_line_a_question_counts_its_completions(tmp_path: Path) -> None:
    outcomes = {"a": ["correct", "wrong", "correct", "unread"], "b": ["wrong", "wrong"]}
    rows = [{"split": "train", "id": name, "strict_outcome": each} for name, all_ in outcomes.items() for each in all_]
    file = tmp_path / difficulty.FILE
    difficulty.write(file, rows)
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"id": "a", "completions": 4, "correct": 2, "unread": 1},
        {"id": "b", "completions": 2, "correct": 0, "unread": 0},
    ]
    assert read_pass_rates(file) == {"a": 0.5, "b": 0.0}
