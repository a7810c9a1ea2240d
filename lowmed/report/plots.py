"""Training curves as inline SVG that takes its color from the page."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
INK = "#010203"  # placeholder for the page's text color, so that one drawing fits light, dark and print
COLORS = ("#2a7de1", "#e07b28", "#2f9e63", "#b04ac0", "#d1495b")
# Title -> metrics in it. Names are those of metrics.jsonl; a name that ends in / selects all others with that prefix.
FIGURES: Mapping[str, tuple[str, ...]] = {
    "Loss": ("loss",),
    "Reward": ("reward", "rewards/"),
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


def curves(metrics: Sequence[Row]) -> dict[str, str]:
    """Title -> SVG, for each figure with recorded values."""
    # A reward is None in a step without a sample that it applies to.
    names = list(dict.fromkeys(name for row in metrics for name, value in row.items() if value is not None))
    result = {}
    listed = {name for wanted in FIGURES.values() for name in wanted}
    for title, wanted in FIGURES.items():
        prefixes = tuple(one for one in wanted if one.endswith("/"))
        drawn = [name for name in names if name in wanted or (name.startswith(prefixes) and name not in listed)]
        if drawn:
            lines = {name: [(row["step"], row[name]) for row in metrics if row.get(name) is not None] for name in drawn}
            result[title] = _draw(title, lines)
    return result


def dev_curves(evaluations: Sequence[Row]) -> dict[str, str]:
    """Title -> SVG, for each figure of the evaluations during training."""
    result = {}
    for title, names in DEV_FIGURES.items():
        lines = {name: [(row["step"], row[name]) for row in evaluations if name in row] for name in names}
        if all(lines.values()):
            intervals = [(row["step"], row["low"], row["high"]) for row in evaluations] if "accuracy" in names else []
            result[title] = _draw(title, lines, intervals, window=1)
    return result


def _draw(
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    intervals: Sequence[tuple[float, float, float]] = (),
    window: int = 9,
) -> str:
    """One figure as SVG.

    Args:
        title: its title.
        lines: name -> points.
        intervals: x, lower and upper end of a band.
        window: points in a trailing mean, which is drawn over the points.
    """
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
            color = COLORS[number % len(COLORS)]
            axes.plot(x, y, color=color, linewidth=0.7, alpha=0.35)
            axes.plot(x, _smooth(y, window), color=color, linewidth=1.6, label=name)
        if intervals:
            x, low, high = zip(*intervals, strict=True)
            axes.fill_between(x, low, high, color=COLORS[0], alpha=0.15, linewidth=0)
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


def _smooth(values: Sequence[float], window: int) -> list[float]:
    """Trailing means over a few steps, which show the trend."""
    return [sum(values[max(0, at - window + 1) : at + 1]) / min(window, at + 1) for at in range(len(values))]
