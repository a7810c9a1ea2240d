"""`lowmed judge`: parse options, calibrate a judge, print."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lowmed.cli import options
from lowmed.cli.progress import info, progress

if TYPE_CHECKING:
    from lowmed.judge.records import RubricCalibration

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Calibrate a judge against human labels.")

Labeled = Annotated[
    Path, typer.Argument(metavar="LABELED.jsonl", help="Rows with human labels, see above.", show_default=False)
]
Url = Annotated[str, typer.Option("--judge-url", help="OpenAI-compatible URL, .../v1", show_default=False)]
Model = Annotated[str, typer.Option("--judge-model", help="The server's name for its model.", show_default=False)]
Rubric = Annotated[
    Literal["answer", "clinical"], typer.Option("--rubric", help="The rubric: answers, or clinical reasoning.")
]
Prices = Annotated[
    tuple[float, float] | None,
    typer.Option("--judge-prices", metavar="IN OUT", help="Per million prompt and completion tokens, for the cost."),
]
Out = Annotated[Path | None, typer.Option("--out", help="File for the result, for `judge.calibration` of a recipe.")]


@app.callback()
def _group() -> None:
    """Keep `calibrate` a subcommand."""


@app.command()
def calibrate(
    labeled: Labeled,
    judge_url: Url,
    judge_model: Model,
    rubric: Rubric = "answer",
    judge_prices: Prices = None,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Measure a judge's agreement with human labels.

    \b
    lowmed judge calibrate labeled.jsonl --judge-url http://127.0.0.1:8000/v1 --judge-model qwen3 --out judge.json
    lowmed judge calibrate thoughts.jsonl --judge-url URL --judge-model qwen3 --rubric clinical --out judge.json

    A line holds question, answer (a text, or a list of acceptable ones), completion (the whole completion) or
    prediction (the answer alone; for `clinical` the reasoning alone), and correct: the human label.

    \b
    {"question": "What is seen?", "answer": "pleural effusion", "prediction": "fluid in the pleura", "correct": true}

    Question, gold answer and the judged text are sent to that URL, never an image. The key is read from
    LOWMED_JUDGE_KEY. Exit code 1 if rewards must not use this judge.
    """
    from lowmed.api.judge import calibrate as run_calibration

    calibration = run_calibration(
        labeled, judge_url, judge_model, rubric=rubric, judge_prices=judge_prices, out=out, progress=progress
    )
    if as_json:
        print(json.dumps(calibration.model_dump(mode="json"), indent=2))
    else:
        _show(calibration)
        if out:
            info(f"\nwritten to {out}; in a recipe: judge.calibration={out}")
    if not calibration.passed:
        raise typer.Exit(1)


def _show(calibration: "RubricCalibration") -> None:
    from rich.markup import escape
    from rich.table import Table

    from lowmed.report.console import console, interval

    judge, usage = calibration.judge, calibration.usage
    shown = console()
    shown.print(f"[bold]{escape(judge.model)}[/bold], rubric `{judge.rubric}` {judge.rubric_digest}\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "n", "kappa", "accuracy", "false accepts", "false rejects"):
        table.add_column(heading)
    for name, part in (("all rows", calibration.all), ("judged by the model", calibration.judged_by_model)):
        rates = (part.accuracy, part.false_accepts, part.false_rejects)
        cells = ("-" if rate.rate is None else f"{rate.rate:.3f} {interval(rate.wilson or ())}" for rate in rates)
        table.add_row(name, str(part.n), "-" if part.kappa is None else f"{part.kappa:.3f}", *cells)
    shown.print(table)
    attacks = calibration.attacks
    shown.print(f"\nattacks accepted     {attacks.accepted} of {attacks.tried}")
    for text in attacks.accepted_texts:
        shown.print(f"  {escape(text)}")
    shown.print(
        f"no verdict           {calibration.no_verdict} of {calibration.rows}; "
        f"{calibration.skipped_rows} rows of other kinds were skipped"
    )
    cost = "" if usage.cost is None else f", cost {usage.cost:.4f}"
    shown.print(
        f"sent to {escape(usage.host)}: {usage.requests} requests, {usage.prompt_tokens} + "
        f"{usage.completion_tokens} tokens{cost}; {usage.verdicts_by['cache']} verdicts from the cache, "
        f"{usage.verdicts_by['rule']} by rule"
    )
    for fault in calibration.faults:
        shown.print(f"[bold]not passed:[/bold] {escape(fault)}")
    if calibration.passed:
        shown.print("passed: rewards may use this judge")
