"""The command line: one command a module, nothing heavy imported before a command runs."""

import errno
import sys

import typer

from lowmed import __version__, collector, processes, terminal
from lowmed.cli import (
    ask,
    bridge,
    chat,
    check,
    compare,
    data,
    demo,
    doctor,
    evaluate,
    export,
    inspect,
    judge,
    launch,
    merge,
    plan,
    probe,
    recipes,
    report,
    rewards,
    runs,
    score,
    serve,
    studio,
    study,
    train,
    verify,
)
from lowmed.cli.app import CommandGroups, UsageError, usage_error
from lowmed.errors import LowmedError

app = typer.Typer(
    name="lowmed",
    cls=CommandGroups,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fine-tune medical vision-language models on one GPU, and know whether the result is real.\n\n"
    "Not a diagnostic device: nothing that it trains is cleared for clinical use.",
)


def _version(shown: bool) -> None:
    if shown:
        print(f"lowmed {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options of the command itself."""
    del version


app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("inspect")(inspect.inspect)
app.command("plan")(plan.plan)
app.add_typer(recipes.app, name="recipes")
app.add_typer(rewards.app, name="rewards")
app.add_typer(data.app, name="data")
app.command("probe")(probe.probe)
for _kind, _help in train.HELP.items():
    app.command(_kind, help=_help)(train.command(_kind))
app.command("bridge")(bridge.bridge)
app.add_typer(runs.app, name="runs")
app.command("study")(study.study)
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
app.command("serve")(serve.serve)
app.command("studio")(studio.studio)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run a command; a mistake is three lines on stderr and exit code 2, an interruption exit code 130."""
    terminal.set_up()
    collector.collect_rarely()
    try:
        sys.exit(app(prog_name="lowmed", standalone_mode=False) or 0)
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
        else:
            _print_error(usage_error(error))
        raise SystemExit(2) from None
    except LowmedError as error:
        _print_error(error)
        raise SystemExit(launch.LOST if isinstance(error, processes.LostProcessError) else 2) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        what = "the name of a file or folder is too long for this file system"
        _print_error(LowmedError(what, str(error.filename), "give it a shorter name, at most 255 bytes"))
        raise SystemExit(2) from None
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _print_error(error: LowmedError) -> None:
    print(f"error: {terminal.visible(str(error))}", file=sys.stderr)
