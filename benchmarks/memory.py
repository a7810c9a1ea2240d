"""Write the planner's tables to the documentation: all recipes on all GPUs, and the error of each measured row.

The rows come from `lowmed plan --recipe NAME --rehearse`, copied into benchmarks/results/memory.
"""

from pathlib import Path

from lowmed.plan import calibration, tables

ROOT = Path(__file__).parents[1]


def between(path: Path, mark: str, table: str) -> None:
    """Put a table between `<!-- mark -->` and `<!-- /mark -->`."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    if not begin or not end:
        raise SystemExit(f"{path} has no lines <!-- {mark} --> and <!-- /{mark} -->")
    path.write_text(f"{before}{begin}{table}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    between(ROOT / "recipes" / "README.md", "plan", tables.recipes_table())
    between(ROOT / "docs" / "memory.md", "measured", tables.errors_table(calibration.shipped()))
