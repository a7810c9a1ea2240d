"""Geometry of the charts of a page. The templates draw them as SVG, so that names of rewards and strata are escaped."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 460.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 10.0, 8.0, 22.0  # margins
MAX_POINTS = 240  # of a line; more are averaged
WINDOW = 9  # points in a trailing mean, which is drawn over the points
# Title -> metrics in it. Names are those of metrics.jsonl; a name that ends in / selects all others with that prefix.
FIGURES: Mapping[str, tuple[str, ...]] = {
    "Reward": ("reward", "rewards/"),
    "Loss": ("loss",),
    "Margin of the chosen completion": ("rewards/margins", "rewards/image_margins"),
    "Chosen completion ahead (share of pairs)": ("rewards/accuracies", "rewards/image_accuracies"),
    "Log-probability of a completion": ("logps/",),
    "Reward by source": ("source/",),
    "Token accuracy": ("token_accuracy",),
    "Reward spread within groups": ("reward_std",),
    "Zero-variance groups, clipped completions (share)": ("zero_spread_groups", "clipped"),
    "Completion length (tokens)": ("tokens",),
    "Entropy": ("entropy",),
    "Reward of good and bad completions": ("rewards/chosen", "rewards/rejected"),
    "KL to the initial policy": ("kl",),
    "Canaries": ("canary/",),
    "Adapter norm": ("adapter_norm",),
    "Seconds per step": ("seconds",),
}
# The same for the evaluations during training. Names are those of dev.jsonl.
DEV_FIGURES: Mapping[str, tuple[str, ...]] = {
    "Dev accuracy with 95 % interval": ("accuracy",),
    "Dev: unread, truncated (share)": ("unread", "truncated"),
    "Dev reward": ("reward",),
    "Dev entropy": ("entropy",),
    "Dev KL to the base model": ("kl_base",),
}


@dataclass(frozen=True)
class Line:
    """One line: its name, its last value, and SVG paths of the points and of their trailing mean."""

    name: str
    last: str
    points: str
    trend: str


@dataclass(frozen=True)
class Chart:
    """A chart of lines over steps, in the units of its view box.

    Attributes:
        title: what it shows.
        lines: in the order of the legend.
        band: SVG path of the interval of the first line, or "".
        x_ticks: position and label.
        y_ticks: position and label.
        values: JSON for the pointer: position and step of each point, and the value of each line there.
    """

    title: str
    lines: tuple[Line, ...]
    band: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    values: str
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def training_charts(metrics: Sequence[Row]) -> list[Chart]:
    """A chart for each figure with recorded values.

    Args:
        metrics: rows with a step.
    """
    # A reward is None in a step without a sample that it applies to.
    names = list(dict.fromkeys(name for row in metrics for name, value in row.items() if value is not None))
    listed = {name for wanted in FIGURES.values() for name in wanted}
    result = []
    for title, wanted in FIGURES.items():
        prefixes = tuple(one for one in wanted if one.endswith("/"))
        drawn = [name for name in names if name in wanted or (name.startswith(prefixes) and name not in listed)]
        lines = {name: points(metrics, name) for name in drawn}
        if any(lines.values()):
            result.append(line_chart(title, lines))
    return result


def dev_charts(evaluations: Sequence[Row]) -> list[Chart]:
    """A chart for each figure of the evaluations during training."""
    result = []
    for title, names in DEV_FIGURES.items():
        lines = {name: points(evaluations, name) for name in names}
        if all(lines.values()):
            bounds = [(row["step"], row["low"], row["high"]) for row in evaluations] if "accuracy" in names else []
            result.append(line_chart(title, lines, bounds, window=1))
    return result


def line_chart(
    title: str,
    lines: Mapping[str, Points],
    bounds: Sequence[tuple[float, float, float]] = (),
    window: int = WINDOW,
) -> Chart:
    """Lay out a chart.

    Args:
        title: its title.
        lines: name -> points; at least one point in all.
        bounds: x, lower and upper end of an interval.
        window: points in the trailing mean.
    """
    short = {name: _averaged(points) for name, points in lines.items()}
    xs = [x for points in short.values() for x, _ in points] + [x for x, _, _ in bounds]
    ys = [y for points in short.values() for _, y in points] + [y for _, low, high in bounds for y in (low, high)]
    x_low, x_high = min(xs), max(xs)
    y_ticks = ticks(min(ys), max(ys))
    y_low, y_high = min(min(ys), y_ticks[0]), max(max(ys), y_ticks[-1])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1)
        up = (y - y_low) / ((y_high - y_low) or 1)
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    def path(points: Points) -> str:
        return "".join(f"{'L' if i else 'M'}{x:g},{y:g}" for i, (x, y) in enumerate(at(*point) for point in points))

    drawn = []
    for name, points in short.items():
        trend = [(x, mean) for (x, _), mean in zip(points, _trailing([y for _, y in points], window), strict=True)]
        drawn.append(Line(name, f"{points[-1][1]:.4g}" if points else "", path(points), path(trend)))
    band = path([(x, low) for x, low, _ in bounds] + [(x, high) for x, _, high in reversed(bounds)])
    return Chart(
        title,
        tuple(drawn),
        f"{band}Z" if band else "",
        tuple((at(x, y_low)[0], f"{x:g}") for x in ticks(x_low, x_high) if x_low <= x <= x_high),
        tuple((at(x_low, y)[1], f"{y:g}") for y in y_ticks),
        _values(short, at),
    )


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers that cover a range: multiples of 1, 2 or 5 times a power of ten.

    Args:
        low: lower end.
        high: upper end.
        wanted: about how many steps.
    """
    size = max(abs(low), abs(high))
    if high - low <= max(1e-9 * size, 1e-300):  # equal, or nearly: the steps would not differ as floats
        margin = size / 2 if size > 1e-300 else 0.5
        low, high = low - margin, high + margin
    rough = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = -math.floor(math.log10(unit))
    return [round(number * step, digits) for number in range(first, last + 1)]


def points(rows: Sequence[Row], name: str) -> list[tuple[float, float]]:
    """Step and value of one metric where it is a finite number."""
    return [(float(row["step"]), float(row[name])) for row in rows if _is_finite(row.get(name))]


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _averaged(points: Points) -> list[tuple[float, float]]:
    """At most `MAX_POINTS` points, each the mean of equally many neighbours."""
    size = math.ceil(len(points) / MAX_POINTS) or 1
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def _trailing(values: Sequence[float], window: int) -> list[float]:
    """Trailing means over a few points, which show the trend."""
    return [sum(values[max(0, at - window + 1) : at + 1]) / min(window, at + 1) for at in range(len(values))]


def _values(lines: Mapping[str, Points], at: Any) -> str:
    by_name = {name: dict(points) for name, points in lines.items()}
    steps = sorted({x for points in by_name.values() for x in points})
    return json.dumps(
        {
            "at": [at(step, 0)[0] for step in steps],
            "step": [f"{step:g}" for step in steps],
            "lines": {
                name: [f"{points[step]:.4g}" if step in points else "" for step in steps]
                for name, points in by_name.items()
            },
        }
    )
