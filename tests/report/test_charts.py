"""Charts: ticks, averages and paths, for any numbers that a run may record."""

import json
import math

from hypothesis import example, given
from hypothesis import strategies as st

from lowmed.report import charts

FINITE = st.floats(-1e12, 1e12)


@example(-999999991189.0, -999999990999.0)
@example(0.0, 5e-324)
@example(1e12, 1e12 + 0.0001)
@given(FINITE, FINITE)
def test_ticks_cover_the_range_with_few_round_numbers(one: float, other: float) -> None:
    low, high = sorted((one, other))
    result = charts.ticks(low, high)
    assert 2 <= len(result) <= 8
    assert result == sorted(set(result))
    slack = 1e-6 * (abs(low) + abs(high) + 1)
    assert result[0] <= low + slack
    assert result[-1] >= high - slack


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.floats(-1e9, 1e9)), min_size=1, max_size=40, unique_by=lambda p: p[0])
)
def test_every_point_is_inside_the_chart(points: list[tuple[float, float]]) -> None:
    chart = charts.line_chart("x", {"a": sorted(points)})
    for pair in chart.lines[0].points.replace("L", " ").replace("M", " ").split():
        x, y = map(float, pair.split(","))
        assert chart.left <= x <= chart.right
        assert chart.top - 0.2 <= y <= chart.bottom + 0.2


def test_a_long_run_is_averaged_and_keeps_its_last_step() -> None:
    chart = charts.line_chart("x", {"a": [(at, at % 2) for at in range(1, 10_001)]})
    values = json.loads(chart.values)
    assert len(values["step"]) <= charts.MAX_POINTS
    assert values["step"][-1] == "10000"
    assert all(math.isclose(float(value), 0.5, abs_tol=0.02) for value in values["lines"]["a"][:-1])


def test_missing_and_infinite_values_are_left_out() -> None:
    rows: list[dict[str, float | None]] = [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": math.inf},
        {"step": 3},
        {"step": 4, "loss": None},
    ]
    assert charts.points(rows, "loss") == [(1.0, 1.0)]
    assert charts.training_charts([{"step": 1, "loss": math.nan}]) == []
