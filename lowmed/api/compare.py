"""Compare two evaluations, as `lowmed compare` does."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowmed.evaluation.records import Comparison


def compare(
    first: str | PathLike[str], second: str | PathLike[str], *, strict: bool = False, allow_different: bool = False
) -> "Comparison":
    """Compare two sets of completions of the same questions: paired interval and exact tests of second minus first.

    Args:
        first: run, evaluation directory, .jsonl file in it, or directory of `lowmed score --out`.
        second: the same.
        strict: compare strict grades; otherwise lenient ones.
        allow_different: compare the shared questions even if settings or questions differ.

    Raises:
        RunError: nothing to compare, or a difference that was not allowed.
    """
    from lowmed.evaluation import compare as comparison
    from lowmed.evaluation.compare_inputs import load_systems

    sides = load_systems(Path(first)), load_systems(Path(second))
    return comparison.compare(*sides, strict=strict, allow_different=allow_different)
