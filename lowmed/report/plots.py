"""Curves of a run as SVG texts that take their colour from the page around them."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
INK = "#010203"  # stands for the page's text colour, so that one drawing serves light, dark and paper
COLOURS = ("#2a7de1", "#e07b28", "#2f9e63", "#b04ac0", "#d1495b")
# Title -> what is drawn; names are those of metrics.jsonl, and a name that ends in / draws all below it.
FIGURES: Mapping[str, tuple[str, ...]] = {
    "Loss": ("loss",),
    "Reward": ("reward", "rewards/"),
    "Token accuracy": ("token_accuracy",),
    "Reward spread within groups": ("reward_std",),
    "Groups without spread, clipped replies (share)": ("zero_spread_groups", "clipped"),
    "Reply length (tokens)": ("tokens",),
    "Entropy": ("entropy",),
    "KL to the start": ("kl",),
    "Canaries": ("canary/",),
    "Adapter norm": ("adapter_norm",),
    "Seconds per update": ("seconds",),
}


def curves(metrics: Sequence[Row]) -> dict[str, str]:
    """Title -> SVG of each figure of which anything was recorded."""
    # A reward that had nothing to say on a whole update is None there.
    names = list(dict.fromkeys(name for row in metrics for name, value in row.items() if value is not None))
    result = {}
    for title, wanted in FIGURES.items():
        drawn = [
            name for name in names if any(name == one or (one.endswith("/") and name.startswith(one)) for one in wanted)
        ]
        if drawn:
            lines = {name: [(row["step"], row[name]) for row in metrics if row.get(name) is not None] for name in drawn}
            result[title] = _draw(title, lines)
    return result


def _draw(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: Any = dict.fromkeys(inked, INK)
    style |= {"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "font.family": "sans-serif"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.6, 2.4), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(lines.items()):
            x, y = zip(*points, strict=True)
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(x, y, color=colour, linewidth=0.7, alpha=0.35)
            axes.plot(x, _smooth(y), color=colour, linewidth=1.6, label=name)
        axes.set_title(title, fontsize=9.5, loc="left")
        axes.set_xlabel("step")
        axes.grid(visible=True, color=INK, alpha=0.12)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if len(lines) > 1:
            axes.legend(fontsize=7.5, frameon=False)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    drawing = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", drawing).replace("xlink:href", "href").replace(INK, "currentColor")


def _smooth(values: Sequence[float], window: int = 9) -> list[float]:
    """Means over the last few values, so that a trend shows through the noise of single updates."""
    return [sum(values[max(0, at - window + 1) : at + 1]) / min(window, at + 1) for at in range(len(values))]
