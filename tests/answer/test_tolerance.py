"""Tolerances of numbers: shares, absolute amounts, units."""

import pytest

from lowmed import answer
from lowmed.answer import Question


@pytest.mark.parametrize(
    ("gold", "unit", "tolerance", "expected"),
    [
        ("40", "", "5%", (38, 42)),
        ("40", "", "0.05", (38, 42)),
        ("40", "mm", "2 mm", (38, 42)),
        ("40 mm", "", "0.2 cm", (38, 42)),
        ("4 cm", "", "2 mm", (3.8, 4.2)),
        ("40", "", "±2", (38, 42)),
        ("35 %", "", "±5", (30, 40)),
        ("35 %", "", "+/- 5 %", (30, 40)),
        ("35 %", "", "10%", (31.5, 38.5)),
        ("-2.5", "diopters", "10%", (-2.75, -2.25)),
        ("3.2 SUV", "", "±0.1", (3.1, 3.3)),
        ("0", "", "±0", (0, 0)),
    ],
)
def test_a_tolerance_gives_limits_in_the_unit_of_the_answer(
    gold: str, unit: str, tolerance: str, expected: tuple[float, float]
) -> None:
    assert tuple(map(float, answer.limits(gold, unit, tolerance))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gold", "unit", "tolerance", "message"),
    [
        ("30 %", "", "2 mm", "the tolerance is in mm and the answer in %"),
        ("30", "", "2 mm", "the tolerance is in mm and the answer in no unit"),
        ("30 mm", "", "2 mg", "the tolerance is in mg and the answer in mm"),
        ("30 mm", "", "±2 %", "the tolerance is in % and the answer in mm"),
        ("30", "", "-2", "cannot be used"),
        ("30", "", "a lot", "cannot be used"),
        ("30", "", "1e999999999", "cannot be used"),
        ("1e999999", "", "1e999999", "cannot be used"),
        ("2 x 3 cm", "", "5%", "is not one number"),
        ("2023-01-02", "", "5%", "is not one number"),
        ("left", "", "5%", "is not one number"),
    ],
)
def test_a_tolerance_that_does_not_fit_its_answer_is_refused(
    gold: str, unit: str, tolerance: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        answer.limits(gold, unit, tolerance)


@pytest.mark.parametrize(
    ("completion", "gold", "unit", "outcome"),
    [
        ("3.2 SUVmax", "3.2 SUV", "", "correct"),
        ("The SUVmax is 3.2", "3.2 SUV", "", "correct"),
        ("4.2 SUV", "3.2 SUV", "", "incorrect"),
        ("30°", "30 degrees", "", "correct"),
        ("30 deg", "30°", "", "correct"),
        ("0.5236 rad", "30", "degrees", "incorrect"),
        ("1 rad", "57.2957795131", "degrees", "correct"),
        ("0.9 cm2", "90 mm²", "", "correct"),
        ("0.9 cm", "90 mm²", "", "incorrect"),
        ("7200 mm3", "7.2 ml", "", "correct"),
        ("7.2 cm³", "7.2 ml", "", "correct"),
        ("37 degrees Celsius", "37 °C", "", "correct"),
        ("37 degrees", "37 °C", "", "incorrect"),
        ("98 °F", "98 °C", "", "incorrect"),
    ],
)
def test_units_of_measurements_are_converted_within_their_dimension(
    completion: str, gold: str, unit: str, outcome: str
) -> None:
    question = Question("number", (gold,), unit=unit)
    assert answer.grade(answer.read(f"<answer>{completion}</answer>", question), question).outcome == outcome
