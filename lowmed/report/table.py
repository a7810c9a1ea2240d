"""An evaluation as a table for the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

NOTICE = "Research figures; not a diagnostic device, not for clinical use."


def show(report: dict[str, Any]) -> None:
    """Print one table a split: accuracies with their intervals, the floor, what could not be read, and strata."""
    console = Console(highlight=False)
    for split, part in report["splits"].items():
        console.print(_table(report, split, part))
        if part["images_trained_on"]:
            console.print("These figures do not show generalisation: training saw images of this split.")
        console.print()
    console.print(NOTICE)


def _table(report: dict[str, Any], split: str, part: dict[str, Any]) -> Table:
    results = part["results"]
    title = f"{report['source']}, {split}: {part['questions']} questions on {part['images']} images"
    if part["stamp"]:
        title += f"\nIMAGE-OVERLAPPING SPLIT: {part['stamp']}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for who in results:
        table.add_column(who)
    for label, name in (("strict accuracy", "strict"), ("lenient accuracy", "lenient")):
        table.add_row(label, *(_accuracy(found[name]) for found in results.values()))
    floor = part["no_image_floor"]
    table.add_row("no-image floor", *("not known" if floor is None else f"{floor:.3f}" for _ in results))
    for label, name in (("answer in one tag", "tagged"), ("unread", "unread"), ("cut by length", "truncated")):
        table.add_row(label, *(f"{found[name]:.3f}" for found in results.values()))
    for stratum in ("kind", "modality", "topic"):
        cells = next(iter(results.values()))[f"by_{stratum}"]
        if len(cells) < 2 or len(cells) > 12:
            continue
        for name, cell in cells.items():
            few = " (few)" if cell["few"] else ""
            label = f"  {stratum} {name}, n={cell['questions']}{few}"
            table.add_row(label, *(f"{found[f'by_{stratum}'][name]['strict']:.3f}" for found in results.values()))
    return table


def _accuracy(found: dict[str, Any]) -> str:
    low, high = found["by_image"]
    return f"{found['accuracy']:.3f}  [{low:.3f}, {high:.3f}]"
