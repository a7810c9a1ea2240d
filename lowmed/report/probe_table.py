"""A probe as a table for the terminal."""

from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.records import ProbeReport
from lowmed.report.console import FEW, NOTICE, console, interval


def show(report: ProbeReport) -> None:
    """Print accuracy, Pass@K with chance and the blind model, support, and the verdict of each stratum."""
    shown = console()
    seen = f" ({report.seen})" if report.seen else ""
    part, overall = report.splits["train"], report.all
    shown.print(
        f"[bold]{escape(report.model)} on {escape(report.source)}, {part.questions} training questions on "
        f"{part.images} images{seen}[/bold], strict\n"
    )
    shown.print(f"Acc@1 greedy  {overall.acc_at_1:.3f} {interval(overall.acc_at_1_by_image)}")
    for k, row in overall.by_k.items():
        blind = "-" if row.blind is None else f"{row.blind:.3f}"
        passed = f"{row.pass_rate:.3f} {interval(row.by_image)}"
        shown.print(f"Pass@{k:<2}       {passed}   chance {row.chance:.3f}   blind {blind}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "n", "Acc@1", "support", "mixed", "unread", "unique", "verdict"):
        table.add_column(heading, justify="left" if heading in ("", "verdict") else "right")
    strata = {"all": overall, **report.by_kind, **report.by_modality}
    for name, stratum in strata.items():
        table.add_row(
            escape(name) + (FEW if stratum.few else ""),
            str(stratum.questions),
            f"{stratum.acc_at_1:.3f}",
            f"{stratum.support:.3f} {interval(stratum.support_by_image)}",
            f"{stratum.mixed:.3f}",
            f"{stratum.format_failure:.3f}",
            f"{stratum.unique_answers:.1f}",
            escape(stratum.verdict),
        )
    shown.print()
    shown.print(table)
    shown.print(f"\n[bold]{overall.verdict}[/bold]: {escape(overall.reason)}")
    shown.print("support: share of questions correct more often than guessing and the blind model (no image) explain.")
    shown.print("mixed: share of questions with both correct and incorrect completions. unique: different answers.")
    shown.print("Intervals: 95 %, by image. (few): under 30 questions or 10 images.")
    shown.print(NOTICE)
