"""Write the planner's tables into the documentation: all recipes on all GPUs, and the error of each measured value.

The measured runs are files of `lowmed plan --recipe NAME --dry-run`, copied into benchmarks/results/memory.
"""

from pathlib import Path

from page import put

from lowmed.plan import calibration, tables

ROOT = Path(__file__).parents[1]


def write() -> None:
    """Write the tables between their marks."""
    put(ROOT / "recipes" / "README.md", "plan", tables.recipes_table())
    put(ROOT / "docs" / "models.md", "plan", tables.models_table())
    put(ROOT / "docs" / "memory.md", "measured", tables.errors_table(calibration.shipped_runs()))


if __name__ == "__main__":
    write()
