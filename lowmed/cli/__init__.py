"""The command line: one verb a module, nothing heavy imported before a verb runs."""

import sys

import typer

from lowmed import __version__
from lowmed.cli import (
    ask,
    bridge,
    chat,
    check,
    compare,
    data,
    doctor,
    evaluate,
    export,
    judge,
    merge,
    plan,
    probe,
    recipes,
    report,
    rewards,
    score,
    train,
    verify,
)
from lowmed.errors import LowmedError

app = typer.Typer(
    name="lowmed",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    help="Fine-tune medical vision-language models on one GPU, and know whether the result is real.\n\n"
    "Not a diagnostic device: nothing that it trains is cleared for clinical use.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"lowmed {__version__}")
        raise typer.Exit


@app.callback()
def _options(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True)) -> None:
    """Options of the command itself."""
    del version


app.command("check")(check.check)
app.command("plan")(plan.plan)
app.add_typer(recipes.app, name="recipes")
app.add_typer(rewards.app, name="rewards")
app.add_typer(data.app, name="data")
app.command("probe")(probe.probe)
app.command("sft")(train.sft)
app.command("grpo")(train.grpo)
app.command("bridge")(bridge.bridge)
app.command("eval")(evaluate.evaluate)
app.command("score")(score.score)
app.command("compare")(compare.compare)
app.add_typer(judge.app, name="judge")
app.command("report")(report.report)
app.command("verify")(verify.verify)
app.command("merge")(merge.merge)
app.command("export")(export.export)
app.command("ask")(ask.ask)
app.command("chat")(chat.chat)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run a verb; a mistake is three lines on stderr and exit 2, an interruption exit 130."""
    try:
        app(standalone_mode=True)
    except LowmedError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
