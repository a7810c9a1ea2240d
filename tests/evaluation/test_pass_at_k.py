"""Pass@K, maj@K and calibration against brute force and worked examples."""

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.evaluation.pass_at_k import all_correct_at, calibration, majority, pass_at, sampling_metrics
from lowmed.evaluation.score import score_row

OPTIONS = ["CT", "MRI", "X-ray", "US"]


def _question(number: int, answers: Sequence[str]) -> list[dict[str, Any]]:
    row = {
        "id": str(number),
        "split": "test",
        "group": f"i{number}",
        "question": "?",
        "options": OPTIONS,
        "answer": "CT",
    }
    completions = [f"<answer>{answer}</answer>" if answer else "" for answer in answers]
    return [score_row({**row, "completion": completion, "finish_reason": "stop"}, "row") for completion in completions]


@given(st.integers(1, 20), st.data())
def test_pass_at_k_is_the_closed_form(n: int, data: st.DataObject) -> None:
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert pass_at(n, right, k) == pytest.approx(1 - math.comb(n - right, k) / math.comb(n, k), abs=1e-12)


def test_pass_at_k_is_the_share_of_draws_with_a_correct_one() -> None:
    completions = [True] * 2 + [False] * 5
    draws = list(itertools.combinations(completions, 3))
    assert pass_at(7, 2, 3) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert all_correct_at(7, 4, 3) == pytest.approx(4 / 35)


def test_pass_at_k_is_unbiased_and_the_plug_in_estimate_is_not() -> None:
    draw = random.Random(0)
    counts = [sum(draw.random() < 0.1 for _ in range(16)) for _ in range(20_000)]
    truth = 1 - 0.9**8
    assert sum(pass_at(16, c, 8) for c in counts) / len(counts) == pytest.approx(truth, abs=0.01)
    assert sum(1 - (1 - c / 16) ** 8 for c in counts) / len(counts) < truth - 0.05


def test_too_few_completions_are_an_error() -> None:
    with pytest.raises(ValueError, match="pass@8 needs 8"):
        pass_at(4, 4, 8)


def test_a_guesser_reaches_the_chance_level() -> None:
    draw = random.Random(1)
    rows = [row for number in range(400) for row in _question(number, [draw.choice("ABCD") for _ in range(8)])]
    result = sampling_metrics(rows)
    assert result.by_k.keys() == {"1", "2", "4", "8"}
    for k, expected in (("1", 0.25), ("2", 0.4375), ("4", 0.6836), ("8", 0.8999)):
        assert result.by_k[k].chance == pytest.approx(expected, abs=1e-4)
        assert result.by_k[k].pass_rate == pytest.approx(expected, abs=0.04)
    assert result.calibration.ece > 0.15  # its completions agree by chance


@pytest.mark.parametrize(
    ("answers", "correct", "share"),
    [
        (["A", "A", "B"], True, 2 / 3),
        (["A", "B", "B"], False, 2 / 3),
        (["B", "A", "A", "B"], False, 0.5),
        (["A", "B", "B", "A"], True, 0.5),
        (["", "", "A"], True, 1 / 3),
        (["", ""], False, 0.0),
    ],
)
def test_the_majority_counts_readable_answers_and_the_first_wins_a_tie(
    answers: list[str], correct: bool, share: float
) -> None:
    result = majority(_question(0, answers))
    assert result[0] is correct
    assert result[1] == pytest.approx(share)


def test_calibration_compares_agreement_with_correctness() -> None:
    sure = [_question(number, ["A"] * 4) for number in range(50)]
    unsure = [_question(number + 50, ["B", "B", "A", "C"]) for number in range(50)]
    result = calibration(sure + unsure)
    assert result.risk_at_coverage == {"0.25": 0, "0.5": 0, "0.75": pytest.approx(1 / 3), "1": 0.5}
    assert result.ece == pytest.approx(0.25)
    assert calibration(sure).ece == 0
