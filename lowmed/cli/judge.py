"""`lowmed judge`: a judge measured against people before it is trusted."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lowmed.cli import options
from lowmed.cli.progress import info

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure a judge before it is trusted.")

Labelled = Annotated[
    Path, typer.Argument(metavar="LABELLED.jsonl", help="Rows with a person's verdict, see above.", show_default=False)
]
Url = Annotated[str, typer.Option("--judge-url", help="OpenAI-compatible address, .../v1", show_default=False)]
Model = Annotated[str, typer.Option("--judge-model", help="What the judge's server calls it.", show_default=False)]
Rubric = Annotated[Literal["answer", "clinical"], typer.Option("--rubric", help="What is judged.")]
Prices = Annotated[
    tuple[float, float] | None,
    typer.Option("--judge-prices", metavar="IN OUT", help="Per million prompt and completion tokens, for the cost."),
]
Out = Annotated[Path | None, typer.Option("--out", help="File for the result, for `judge.calibration` of a recipe.")]


@app.callback()
def _group() -> None:
    """Keep `calibrate` a command of its own."""


@app.command()
def calibrate(
    labelled: Labelled,
    judge_url: Url,
    judge_model: Model,
    rubric: Rubric = "answer",
    judge_prices: Prices = None,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Compare a judge with verdicts that people gave; exit 1 where it is not to be trusted as a reward.

    \b
    lowmed judge calibrate labelled.jsonl --judge-url http://127.0.0.1:8000/v1 --judge-model qwen3 --out judge.json
    lowmed judge calibrate thoughts.jsonl --judge-url URL --judge-model qwen3 --rubric clinical --out judge.json

    A line holds question, answer (a text, or a list of acceptable ones), completion (the whole completion) or prediction
    (the answer alone; for `clinical` the reasoning alone), and correct: what a person says of it.

    \b
    {"question": "What is seen?", "answer": "pleural effusion", "prediction": "fluid in the pleura", "correct": true}

    Question, gold answer and the text judged are sent to that address, never an image. A key: LOWMED_JUDGE_KEY.
    """
    from lowmed.evaluate import judge_calibration as measured
    from lowmed.judge import RUBRICS, Judge, calibration

    asked = RUBRICS[rubric]
    rows, left_out = measured.read(labelled, asked)
    judge = Judge(judge_url, judge_model, prices=judge_prices)
    result = {**measured.calibrate(judge, asked, rows), "left_out": left_out, "sent": judge.record()}
    faults = calibration.faults(result)
    result = {"passed": not faults, "faults": faults, **result}
    if out:
        calibration.write(out, judge, asked, result)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        _show(result)
        if out:
            info(f"\nwritten to {out}; in a recipe: judge.calibration={out}")
    if faults:
        raise typer.Exit(1)


def _show(result: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from lowmed.report.eval_table import console, interval

    judge, sent = result["judge"], result["sent"]
    shown = console()
    shown.print(f"[bold]{escape(judge['model'])}[/bold] by rubric `{judge['rubric']}` {judge['rubric_digest']}\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "n", "kappa", "accuracy", "false accepts", "false rejects"):
        table.add_column(heading)
    for name, part in (("all rows", result["all"]), ("asked of the judge", result["asked"])):
        rates = (part[key] for key in ("accuracy", "false_accepts", "false_rejects"))
        cells = ("-" if rate["rate"] is None else f"{rate['rate']:.3f} {interval(rate['wilson'])}" for rate in rates)
        table.add_row(name, str(part["n"]), "-" if part["kappa"] is None else f"{part['kappa']:.3f}", *cells)
    shown.print(table)
    attacks, by = result["attacks"], sent["verdicts_by"]
    shown.print(f"\nattacks accepted    {attacks['accepted']} of {attacks['asked']}")
    for text in attacks["texts_accepted"]:
        shown.print(f"  {escape(text)}")
    shown.print(
        f"no verdict          {result['no_verdict']} of {result['rows']}; {result['left_out']} rows need no judge"
    )
    cost = "" if sent["cost"] is None else f", cost {sent['cost']:.4f}"
    shown.print(
        f"sent to {escape(sent['host'])}: {sent['requests']} requests, {sent['prompt_tokens']} + "
        f"{sent['completion_tokens']} tokens{cost}; {by['cache']} verdicts from the cache, {by['rule']} by rule"
    )
    for fault in result["faults"]:
        shown.print(f"[bold]not to be trusted as a reward:[/bold] {escape(fault)}")
    if not result["faults"]:
        shown.print("passed: rewards may ask this judge")
