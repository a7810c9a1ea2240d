"""Completions in the voices of many models, with the outcomes of a careful reader. None is copied from a data set."""

import json
from pathlib import Path
from typing import Any

import pytest

from lowmed.answer import grade, read, tier
from lowmed.evaluation.score import question_of_row

FOLDER = Path(__file__).parents[1] / "fixtures" / "answers"


def load(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def outcome(case: dict[str, Any]) -> str:
    question = question_of_row(case, case["id"])
    if "tier" in case:
        return tier(case["completion"], question)
    return grade(read(case["completion"], question, case.get("finish_reason", "stop")), question).outcome


@pytest.mark.parametrize("case", load("cases.jsonl"), ids=lambda case: case["id"])
def test_a_completion_is_read_as_a_careful_reader_does(case: dict[str, Any]) -> None:
    assert outcome(case) in case.get("expected", [case.get("tier")]), case.get("note")


@pytest.mark.parametrize("case", load("limits.jsonl"), ids=lambda case: case["id"])
def test_a_completion_beyond_the_rules_is_unread_and_not_guessed(case: dict[str, Any]) -> None:
    assert outcome(case) in (*case.get("expected", [case.get("tier")]), "unread", "none"), case.get("note")
