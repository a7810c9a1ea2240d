"""A probe for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from lowmed.report.eval_table import NOTICE, console, interval


def show(result: Mapping[str, Any]) -> None:
    """Print accuracy, Pass@K beside chance and blindness, support, and the verdict of each stratum."""
    shown = console()
    seen = f" ({result['seen']})" if result["seen"] else ""
    part = result["splits"]["train"]
    shown.print(
        f"[bold]{escape(result['model'])} on {escape(result['source'])}, {part['questions']} training questions of "
        f"{part['images']} images{seen}[/bold], strict\n"
    )
    everything = result["all"]
    shown.print(f"Acc@1 greedy  {everything['acc_at_1']:.3f} {interval(everything['acc_at_1_by_image'])}")
    for k, row in everything["at"].items():
        blind = "-" if row["blind"] is None else f"{row['blind']:.3f}"
        passed = f"{row['pass']:.3f} {interval(row['by_image'])}"
        shown.print(f"Pass@{k:<2}       {passed}   chance {row['chance']:.3f}   blind {blind}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "n", "Acc@1", "support", "mixed", "no answer", "unique", "verdict"):
        table.add_column(title, justify="left" if title in ("", "verdict") else "right")
    rows = {"all": everything, **result["by_kind"], **result["by_modality"]}
    for name, cell in rows.items():
        table.add_row(
            escape(name) + (" (few)" if cell["few"] else ""),
            str(cell["questions"]),
            f"{cell['acc_at_1']:.3f}",
            f"{cell['support']:.3f} {interval(cell['support_by_image'])}",
            f"{cell['mixed']:.3f}",
            f"{cell['format_failure']:.3f}",
            f"{cell['unique_answers']:.1f}",
            cell["verdict"],
        )
    shown.print()
    shown.print(table)
    shown.print(f"\n[bold]{everything['verdict']}[/bold]: {everything['reason']}")
    shown.print("support: questions right more often than guessing and blindness explain. mixed: right at times.")
    shown.print("Intervals: 95 %, bootstrap over images. (few): under 30 questions.")
    shown.print(NOTICE)
