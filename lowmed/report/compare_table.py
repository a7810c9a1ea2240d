"""A comparison as a table for the terminal."""

from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.paired_tests import LEVEL
from lowmed.evaluation.records import Comparison, PairedDifference, SourceComparison, StratumDifference
from lowmed.report.eval_table import FEW, NOTICE, console, interval

STRATA = ("split", "kind", "answer_type", "modality", "topic")
TEXT_SHOWN = 200  # characters of a completion
EXAMPLES_SHOWN = 2


def show(comparison: Comparison) -> None:
    """Print the differences with their tests, by stratum, and examples that changed each way."""
    shown = console()
    shown.print(escape(f"A  {', '.join(comparison.first)}\nB  {', '.join(comparison.second)}"))
    shown.print(f"{comparison.grade} accuracy, B minus A, 95 % paired bootstrap over images\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "n", "A", "B", "B - A", "A only, B only", "exact p", "n needed"):
        table.add_column(heading, justify="left" if not heading else "right")
    for source, part in comparison.sources.items():
        table.add_row(f"[bold]{escape(source)}[/bold]", *_cells(part.all))
        for stratum in STRATA:
            cells: dict[str, StratumDifference] = getattr(part, f"by_{stratum}")
            for name, cell in cells.items() if len(cells) > 1 else ():
                label = f"  {stratum.replace('_', ' ')} {escape(name)}{FEW if cell.under_30_questions else ''}"
                table.add_row(label, *_cells(cell))
        for judged in part.judged:
            name = f"{judged.judge.model} ({judged.judge.rubric_digest})"
            table.add_row(f"  open, judged by {escape(name)}", *_cells(judged))
    shown.print(table)
    for source, part in comparison.sources.items():
        for line in _notes(source, part):
            shown.print(escape(line))
    shown.print("\nA only, B only: questions that only one of them answers correctly. n needed: for power 0.8.")
    shown.print("Holm corrects over data sources; strata and judge scores are not corrected for multiple tests.")
    shown.print(NOTICE)


def _notes(source: str, part: SourceComparison) -> list[str]:
    lines = [f"\n{source}: {verdict(part.all, part.p_holm)}"]
    if part.differences:
        lines.append("DIFFERENT SETTINGS: " + "; ".join(part.differences))
    for judged in part.judged:
        sentence = verdict(judged, judged.p_mcnemar, "uncorrected")
        left_out = f"; {judged.no_verdict} open questions without a verdict on one side are left out"
        lines.append(f"by the judge {judged.judge.model}: {sentence}{left_out if judged.no_verdict else ''}")
    if part.judges_differ:
        lines.append(part.judges_differ)
    for change, examples in (("to correct", part.flipped.to_correct), ("to incorrect", part.flipped.to_incorrect)):
        for example in examples[:EXAMPLES_SHOWN]:
            lines.append(f"  {change}  {example.id}  {example.question}")
            lines.append(f"    gold {example.answer}   A: {_short(example.first)}")
            lines.append(f"    B: {_short(example.second)}")
    return lines


def verdict(result: PairedDifference, p: float, correction: str = "Holm") -> str:
    """The result of the comparison in one sentence.

    Args:
        result: the difference.
        p: the p value that decides.
        correction: how p was corrected.
    """
    low, high = result.by_image
    figures = f"{result.difference:+.3f} {interval(result.by_image)}, exact p {_p(p)} ({correction})"
    if p < LEVEL and not low <= 0 <= high:
        return f"{'B' if result.difference > 0 else 'A'} is better: {figures}"
    needed = result.questions_needed
    return f"no significant difference: {figures}" + (
        f"; detecting a difference of this size takes about {needed:,} questions" if needed else ""
    )


def _cells(result: PairedDifference) -> tuple[str, ...]:
    return (
        str(result.questions),
        f"{result.first:.3f}",
        f"{result.second:.3f}",
        f"{result.difference:+.3f} {interval(result.by_image)}",
        f"{result.only_first}, {result.only_second}",
        _p(result.p_mcnemar),
        f"{result.questions_needed:,}" if result.questions_needed else "-",
    )


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.2e}"


def _short(text: str | None) -> str:
    flat = " ".join((text or "").split())
    return flat if len(flat) <= TEXT_SHOWN else flat[:TEXT_SHOWN] + " ..."
