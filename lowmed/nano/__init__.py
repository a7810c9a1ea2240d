"""The embedded model and its data: every command runs on a laptop, without any download."""

from pathlib import Path


def folder() -> Path:
    """The folder of the shipped weights, which transformers can load."""
    return Path(__file__).parent / "weights"
