"""A comparison for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from lowmed.evaluate.paired_tests import LEVEL
from lowmed.report.eval_table import NOTICE, console, interval

STRATA = ("split", "kind", "answer_type", "modality", "topic")
TEXT_SHOWN = 200  # characters of a completion


def show(result: Mapping[str, Any]) -> None:
    """Print the differences with their tests, by stratum, and examples of what changed each way."""
    shown = console()
    shown.print(escape(f"A  {', '.join(result['first'])}\nB  {', '.join(result['second'])}"))
    shown.print(f"{result['verdict']} accuracy, B minus A, 95 % paired bootstrap over images\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "n", "A", "B", "B - A", "A only, B only", "exact p", "n needed"):
        table.add_column(title, justify="left" if not title else "right")
    for source, part in result["sources"].items():
        table.add_row(f"[bold]{escape(source)}[/bold]", *_cells(part["all"]))
        for stratum in STRATA:
            cells = part[f"by_{stratum}"]
            for name, cell in cells.items() if len(cells) > 1 else ():
                few = " (few)" if cell["few"] else ""
                table.add_row(f"  {stratum} {escape(name)}{few}", *_cells(cell))
        for each in part["judged"]:
            named = f"{each['judge']['model']} ({each['judge']['rubric_digest']})"
            table.add_row(f"  open, judged by {escape(named)}", *_cells(each))
    shown.print(table)
    for source, part in result["sources"].items():
        shown.print(f"\n{escape(source)}: {verdict(part)}")
        if part["differing"]:
            shown.print(escape("NOT ASKED THE SAME: " + "; ".join(part["differing"])))
        for each in part["judged"]:
            left_out = f"; {each['no_verdict']} open questions without a verdict on one side are left out"
            told = verdict({"all": each, "p_holm": each["p_mcnemar"]}, "uncorrected")
            shown.print(
                escape(f"by the judge {each['judge']['model']}: {told}{left_out if each['no_verdict'] else ''}")
            )
        if part["judged_apart"]:
            shown.print(escape(part["judged_apart"]))
        for way, examples in part["flipped"].items():
            for example in examples[:2]:
                shown.print(escape(f"  {way.replace('_', ' ')}  {example['id']}  {example['question']}"))
                shown.print(escape(f"    gold {example['answer']}   A: {_short(example['first'])}"))
                shown.print(escape(f"    B: {_short(example['second'])}"))
    shown.print("\nStrata and judged scores are not corrected for being many; Holm corrects over data sources.")
    shown.print(NOTICE)


def verdict(part: Mapping[str, Any], corrected: str = "Holm") -> str:
    """What the comparison shows, in one sentence."""
    result, p = part["all"], part["p_holm"]
    low, high = result["by_image"]
    shown = f"{result['difference']:+.3f} {interval(result['by_image'])}, exact p {_p(p)} ({corrected})"
    if p < LEVEL and not low <= 0 <= high:
        return f"{'B' if result['difference'] > 0 else 'A'} is better: {shown}"
    more = result["questions_needed"]
    return f"no difference is shown: {shown}" + (
        f"; to find one this small takes about {more:,} questions" if more else ""
    )


def _cells(result: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(result["questions"]),
        f"{result['first']:.3f}",
        f"{result['second']:.3f}",
        f"{result['difference']:+.3f} {interval(result['by_image'])}",
        f"{result['only_first']}, {result['only_second']}",
        _p(result["p_mcnemar"]),
        f"{result['questions_needed']:,}" if result["questions_needed"] else "-",
    )


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.2e}"


def _short(text: str) -> str:
    flat = " ".join((text or "").split())
    return flat if len(flat) <= TEXT_SHOWN else flat[:TEXT_SHOWN] + " ..."
