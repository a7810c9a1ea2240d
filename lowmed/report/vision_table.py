"""A vision probe as a table for the terminal."""

from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.records import Figure, VisionProbe
from lowmed.evaluation.vision_probe import verdict
from lowmed.report.console import NOTICE, console, interval


def show(report: VisionProbe) -> None:
    """Print the balanced accuracies of each question, and what they say."""
    shown = console()
    shown.print(
        f"[bold]{escape(report.model)} on {escape(report.source)}, {report.questions:,} training questions[/bold], "
        "balanced accuracy of classifiers of images\n"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (
        "question",
        "n",
        "chance",
        "features, linear",
        "features, kNN",
        "pixels, linear",
        "pixels, kNN",
        "",
    ):
        text = heading in ("question", "")
        table.add_column(heading, justify="left" if text else "right", no_wrap=heading != "question")
    for target in report.targets:
        table.add_row(
            escape(target.question),
            str(target.questions),
            f"{target.chance:.2f}",
            _with_interval(target.linear),
            f"{target.neighbors.value:.2f}",
            _with_interval(target.pixels_linear),
            f"{target.pixels_neighbors.value:.2f}",
            verdict(target),
        )
    shown.print(table)
    shown.print(f"\n{report.left_out:,} questions are in no row: they do not recur, or their answer is rare.")
    shown.print("seen: the linear interval is above chance. as by pixels: gray pixels do as well, within the interval.")
    shown.print("Intervals: 95 %, by image. Five-fold cross-validation; no image is in training and test of a fold.")
    shown.print(NOTICE)


def _with_interval(figure: Figure) -> str:
    return f"{figure.value:.2f} {interval(figure.by_image)}"
