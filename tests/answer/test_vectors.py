"""The shared regression vectors: every case through the function that it names."""

import json
from pathlib import Path
from typing import Any

import pytest

from lowmed.answer import Answer, Question, contradictions, extract, grade, normalize, read, read_text

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "answers.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"] if VECTORS.exists() else []
KINDS = {"mcq": "choice", "yesno": "closed", "open": "open"}


def _question(case: dict[str, Any]) -> Question:
    kind = KINDS[case.get("answer_type") or case["kind"]]
    golds = case["gold"] if isinstance(case["gold"], list) else [case["gold"]]
    options = case.get("options", {})
    return Question(kind, tuple(options.get(gold, gold) for gold in golds), tuple(options.values()))  # type: ignore[arg-type]


@pytest.mark.skipif(not CASES, reason="../shared/vectors/answers.json is absent")
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_vector_has_its_expected_outcome(case: dict[str, Any]) -> None:
    text, finish = case["input"], case.get("finish_reason", "stop")
    if case["kind"] == "extract":
        result = extract(text, finish)
        assert result.text == case["expected_text"]
        assert (result.text if result.strict else None) == case["expected_strict_text"]
    if case["kind"] == "normalize":
        assert normalize(text) == case["expected_text"]
    if "expected_contradiction" in case:
        assert bool(contradictions(text, case["gold"])) == case["expected_contradiction"]
    if "expected_outcome" not in case:
        return
    question = _question(case)
    if case["kind"] == "reply":
        answer = read(text, question, finish)
    else:
        value, problem = read_text(text, question)
        answer = Answer(value, "whole", strict=False, flags=(problem,))
    verdict = grade(answer, question)
    assert verdict.outcome in (case["expected_outcome"], *case.get("also_accept", ()))
    if "expected_strict_outcome" in case:
        assert verdict.strict_outcome == case["expected_strict_outcome"]
    if "expected_letter" in case:
        letter = case["expected_letter"]
        assert answer.value == (None if letter is None else case["options"][letter])
    if "expected_value" in case:
        assert answer.value == case["expected_value"]
