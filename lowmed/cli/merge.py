"""`lowmed merge`: merge the adapter of a run into its 16-bit base, and compare the result with the adapter."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import info, progress

if TYPE_CHECKING:
    from lowmed.ship.records import MergeReport, Report

RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="Directory of a finished run.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to create.")]
Reference = Annotated[
    str | None,
    typer.Option("--reference", help="Weights that the adapter is added to: original (default) or dequantized."),
]
Into = Annotated[str, typer.Option("--into", help="Precision: 16bit, or 4bit, which loses part of the training.")]
Questions = Annotated[
    int,
    typer.Option("--questions", min=0, help="Held-out questions to compare adapter and merged model; 0 = none."),
]
On = Annotated[str | None, typer.Option("--on", help="Other source of questions than the run's held-out split.")]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of that source.")]
Base = Annotated[str | None, typer.Option("--base", help="Folder of the 16-bit base, if it has moved.")]
QUESTIONS = 32


def merge(
    run: RunFolder,
    out: Out,
    reference: Reference = None,
    into: Into = "16bit",
    questions: Questions = QUESTIONS,
    on: On = None,
    path: PathTo = None,
    base: Base = None,
    as_json: options.Json = False,
) -> None:
    """Merge a run's adapter into its 16-bit base.

    \b
    lowmed merge runs/20260101-rarl --out rarl-merged
    lowmed merge runs/20260101-rarl --out rarl-merged --reference dequantized
    lowmed merge runs/20260101-rarl --out rarl-merged --base ~/Qwen2-VL-2B-Instruct

    The result is a folder that transformers loads. It is created only if adapter and merged model agree;
    otherwise the exit code is 1. One tensor is in memory at a time. Run the command again to resume a killed merge.
    """
    from lowmed.api import merge as api

    report = api.merge(
        run,
        out,
        reference=reference,
        into=into,
        questions=questions,
        on=on,
        path=path,
        base=base,
        progress=progress,
        log=info,
    )
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        show_merge(report)
        if report.passed:
            info(f"done    {report.out}")
            info(f"next    {report.out}/example.py states how to ask the model")
    if not report.passed:
        raise typer.Exit(1)


def show_checks(report: "Report") -> None:
    """Print one line for each check."""
    for check in report.checks:
        print(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.detail}")


def show_merge(report: "MergeReport") -> None:
    """Print the checks of a merge and the agreement of both references."""
    show_checks(report)
    if len(report.parity) > 1:
        for one in report.parity:
            print(
                f"      {one.reference} base: {one.same_answers:.3f} of answers are the same, logits differ by "
                f"{one.mean_logit_difference:.4g} on average, by {one.max_logit_difference:.4g} at most"
            )
        print(f"      the {report.recommended} base agrees best with the adapter: --reference {report.recommended}")
    if report.peak_memory_gib is not None:
        info(f"memory  peak of the merge {report.peak_memory_gib:.2f} GiB")
    if report.passed and not report.measured:
        print("NOT MEASURED: adapter and merged model were not compared (--questions 0)")
    if not report.passed and report.out:
        info(f"failed  the merge was not moved to its output folder; it is in {report.out}")
