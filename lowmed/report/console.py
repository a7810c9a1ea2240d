"""What all terminal tables share: the console, intervals, and the notice below every result."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from lowmed.terminal import unescaped_stdout, visible

NOTICE = "Research figures; not a diagnostic device, not for clinical use."
FEW = " (few)"  # marks a part under 30 questions or 10 images
STEPS_AVERAGED = 5  # at each end of training, for the reward or the loss
WIDTH = 120


class EscapingConsole(Console):
    """A console whose texts cannot control the terminal. Markup in texts of data is escaped by the caller."""

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich does it, for every text and cell."""
        return super().render_str(visible(text), **options)


def console(width: int = WIDTH) -> Console:
    """A console wide enough for every table, even without a terminal or in a narrow one."""
    return EscapingConsole(highlight=False, soft_wrap=True, width=max(width, Console().width), file=unescaped_stdout())


def interval(bounds: Sequence[float]) -> str:
    """An interval in brackets."""
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"


def percent(share: float) -> str:
    """A share in percent, without decimals unless it would read 0 or 100."""
    rounded = f"{100 * share:.0f}"
    return f"{100 * share:.1f} %" if rounded in ("0", "100") and share not in (0, 1) else f"{rounded} %"


def points(difference: float, by_image: Sequence[float]) -> str:
    """The difference of two shares in percentage points, with its interval."""
    low, high = by_image
    return f"{100 * difference:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
