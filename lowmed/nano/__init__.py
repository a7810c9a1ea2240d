"""The embedded model and its data: every verb runs on a laptop, with nothing to download."""

from pathlib import Path


def folder() -> Path:
    """The folder of the shipped weights, which plain transformers loads."""
    return Path(__file__).parent / "weights"
