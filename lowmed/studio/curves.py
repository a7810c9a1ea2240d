"""Curves of a run while it is training, drawn in milliseconds: matplotlib takes as long as a step of a small model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lowmed.report.plots import COLORS, DEV_FIGURES, FIGURES
from lowmed.studio.markup import escape

Row = Mapping[str, Any]
Points = Sequence[tuple[float, float]]
MOST_POINTS = 300
WIDTH, HEIGHT = 330, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 26, 22


def draw(metrics: Sequence[Row], dev: Sequence[Row]) -> str:
    """All figures with recorded values as inline SVG in the color of the page; "" without any."""
    figures = [*_figures(dev, DEV_FIGURES), *_figures(metrics, FIGURES)]
    shown = "".join(_svg(title, lines) for title, lines in figures)
    return f'<div class="lm-curves">{shown}</div>' if shown else ""


def _figures(rows: Sequence[Row], figures: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, dict[str, Points]]]:
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if _is_number(value)))
    listed = {name for wanted in figures.values() for name in wanted}
    for title, wanted in figures.items():
        prefixes = tuple(one for one in wanted if one.endswith("/"))
        drawn = [name for name in names if name in wanted or (name.startswith(prefixes) and name not in listed)]
        if drawn:
            yield title, {name: _points(rows, name) for name in drawn}


def _points(rows: Sequence[Row], name: str) -> Points:
    points = [(float(row["step"]), float(row[name])) for row in rows if _is_number(row.get(name))]
    size = -(-len(points) // MOST_POINTS) or 1
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _svg(title: str, lines: Mapping[str, Points]) -> str:
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x_low, x_high, low, high = min(xs), max(xs), min(ys), max(ys)
    if high == low:
        low, high = low - 0.5, high + 0.5

    def place(x: float, y: float) -> str:
        across = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        up = (y - low) / (high - low)
        return f"{LEFT + across * (WIDTH - LEFT - RIGHT):.1f},{HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM):.1f}"

    drawn, legend = [], []
    for number, (name, points) in enumerate(lines.items()):
        color = COLORS[number % len(COLORS)]
        path = " ".join(place(x, y) for x, y in points)
        last = place(*points[-1]).split(",")
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.6"/>'
            f'<circle cx="{last[0]}" cy="{last[1]}" r="2.4" fill="{color}"/>'
        )
        label = name if len(lines) > 1 else ""
        value = f"{points[-1][1]:.3g}"
        legend.append(f'<span style="color:{color}">{escape(f"{label} {value}".strip())}</span>')
    text = 'fill="currentColor" font-size="10" opacity="0.75"'
    ticks = (
        f'<text x="{LEFT - 5}" y="{TOP + 4}" text-anchor="end" {text}>{high:.3g}</text>'
        f'<text x="{LEFT - 5}" y="{HEIGHT - BOTTOM}" text-anchor="end" {text}>{low:.3g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 6}" {text}>{x_low:.0f}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end" {text}>step {x_high:.0f}</text>'
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="currentColor" opacity="0.3" fill="none"/>'
    )
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<text x="0" y="13" fill="currentColor" font-size="11.5" font-weight="600">{escape(title)}</text>'
        f"{ticks}{''.join(drawn)}</svg><figcaption>{' '.join(legend)}</figcaption></figure>"
    )
