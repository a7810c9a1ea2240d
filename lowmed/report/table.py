"""An evaluation as one table for the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from lowmed.run import Run

NOTICE = "Research figures; not a diagnostic device, not for clinical use."
AVERAGED = 5  # updates at either end of training whose reward is shown


def show(report: dict[str, Any], run: Run | None = None) -> None:
    """Print accuracies with their intervals, the floor, what could not be read, strata; and what training cost."""
    console = Console(highlight=False, soft_wrap=True)
    people = list(next(iter(report["splits"].values()))["results"])
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in ("label", *people):
        table.add_column()
    for split, part in report["splits"].items():
        _add_split(table, split, part, people)
    if run:
        for label, value in training(run).items():
            table.add_row(label, *[""] * (len(people) - 1), value)
    console.print(f"[bold]{report['model']} on {report['source']}, asked by `{report['prompts']}`[/bold]\n")
    console.print(table)
    overlapping = [split for split, part in report["splits"].items() if part["images_trained_on"]]
    if overlapping:
        console.print(f"\nIMAGE-OVERLAPPING SPLIT: training saw images of {', '.join(overlapping)}; its figures are no")
        console.print("measure of generalisation.")
    console.print("\nIntervals: 95 %, the wider of Wilson and a bootstrap over images. (few): under 30 questions.")
    console.print(NOTICE)


def training(run: Run) -> dict[str, str]:
    """What the training of a run did and cost, label -> text."""
    record, rows = run.record, run.rows("metrics.jsonl")
    found = {}
    for name in ("reward", "loss"):
        values = [row[name] for row in rows if name in row]
        if values:
            first, last = values[:AVERAGED], values[-AVERAGED:]
            found[f"{name}, first {len(first)} and last {len(last)} updates"] = (
                f"{sum(first) / len(first):.3f} -> {sum(last) / len(last):.3f}"
            )
            break
    found["training time"] = f"{record['seconds']:.0f} s, {record['updates']} updates on {record['card']}"
    found["peak memory"] = f"{record['peak_gib']:.2f} GiB"
    return found


def _add_split(table: Table, split: str, part: dict[str, Any], people: list[str]) -> None:
    results = [part["results"][who] for who in people]
    table.add_row(f"[bold]{split}[/bold], n={part['questions']} on {part['images']} images", *people)
    if part["stamp"]:
        table.add_row(f"  {part['stamp']}")
    for label, name in (("  strict accuracy", "strict"), ("  lenient accuracy", "lenient")):
        table.add_row(label, *(_accuracy(found[name]) for found in results))
    floor = part["no_image_floor"]
    table.add_row("  no-image floor", *("not known" if floor is None else f"{floor:.3f}" for _ in results))
    for label, name in (("  answer in one tag", "tagged"), ("  unread", "unread"), ("  cut by length", "truncated")):
        table.add_row(label, *(f"{found[name]:.3f}" for found in results))
    for stratum in ("kind", "modality", "topic"):
        cells = results[0][f"by_{stratum}"]
        if not 2 <= len(cells) <= 12:
            continue
        for name, cell in cells.items():
            few = " (few)" if cell["few"] else ""
            label = f"    {stratum} {name}, n={cell['questions']}{few}"
            table.add_row(label, *(f"{found[f'by_{stratum}'][name]['strict']:.3f}" for found in results))
    table.add_row("")


def _accuracy(found: dict[str, Any]) -> str:
    low, high = max(found["wilson"], found["by_image"], key=lambda interval: interval[1] - interval[0])
    return f"{found['accuracy']:.3f} [{low:.3f}, {high:.3f}]"
