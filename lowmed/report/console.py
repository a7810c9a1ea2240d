"""What all terminal tables share: the console, intervals, and the notice below every result."""

from collections.abc import Sequence

from rich.console import Console

NOTICE = "Research figures; not a diagnostic device, not for clinical use."
STEPS_AVERAGED = 5  # at each end of training, for the reward or the loss
WIDTH = 120


def console(width: int = WIDTH) -> Console:
    """A console wide enough for every table, even without a terminal or in a narrow one."""
    return Console(highlight=False, soft_wrap=True, width=max(width, Console().width))


def interval(bounds: Sequence[float]) -> str:
    """An interval in brackets."""
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"
