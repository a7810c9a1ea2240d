"""`lowmed runs`: list, show, compare, prune and remove runs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.api import runs as api
from lowmed.cli import options
from lowmed.cli.progress import info

if TYPE_CHECKING:
    from lowmed.run_removal import Removal

app = typer.Typer(help="List, show, compare, prune and remove runs.", rich_markup_mode=None)

Folder = Annotated[Path | None, typer.Argument(metavar="FOLDER", help="The folder of the runs; default runs/.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")]
Pruned = Annotated[list[Path] | None, typer.Argument(metavar="RUN...", help="Finished runs.")]
All = Annotated[bool, typer.Option("--all", help="All finished runs in runs/.")]
Yes = Annotated[bool, typer.Option("--yes", help="Remove without a question.")]
Force = Annotated[bool, typer.Option("--force", help="Also a damaged run, or one that another run starts from.")]


@app.callback(invoke_without_command=True)
def runs(context: typer.Context) -> None:
    """List, show, compare, prune and remove runs. Without a command, the runs in runs/ are listed."""
    if context.invoked_subcommand is None:
        list_runs()


@app.command("list")
def list_runs(folder: Folder = None, as_json: options.Json = False) -> None:
    """List runs: status, steps, accuracy, size, age.

    \b
    lowmed runs
    lowmed runs list /data/runs --json

    `running` means that a process holds the run's lock. The accuracy is the strict accuracy of the tuned model on the
    first held-out part of the newest evaluation, as `lowmed eval` stored it, with its interval by image.
    """
    result = api.list_runs(folder)
    if as_json:
        print(json.dumps(result.model_dump(mode="json"), indent=2))
        return
    from lowmed.report import runs_table

    runs_table.show_list(result)


@app.command()
def show(run: Run, as_json: options.Json = False) -> None:
    """Show the facts of one run and the next command.

    \b
    lowmed runs show runs/20260101-rarl
    """
    result = api.show_run(run)
    if as_json:
        print(json.dumps(result.model_dump(mode="json"), indent=2))
        return
    from lowmed.report import runs_table

    runs_table.show_details(result)


@app.command()
def compare(runs: Runs, as_json: options.Json = False) -> None:
    """Show runs side by side: recipes, rewards, accuracies.

    \b
    lowmed runs compare runs/rarl runs/rl-plain runs/rarl-sft

    Shows only the recipe keys that differ. A warning states where the runs were not evaluated on the same questions.
    This is an overview, not a test; `lowmed compare A B` tests whether two runs differ.
    """
    result = api.compare_runs(runs)
    if as_json:
        print(json.dumps(result.model_dump(mode="json"), indent=2))
        return
    from lowmed.report import runs_table

    runs_table.show_comparison(result)


@app.command()
def prune(runs: Pruned = None, everything: All = False, yes: Yes = False) -> None:
    """Remove the checkpoints of finished runs.

    \b
    lowmed runs prune runs/20260101-rarl
    lowmed runs prune --all --yes

    Checkpoints hold optimizer states, which are needed to resume a run or to continue it with more steps. Adapter,
    evaluations and records stay.
    """
    from lowmed.errors import RunError

    if bool(runs) == everything:
        raise RunError("name runs, or all of them", "lowmed runs prune", "give run directories, or --all")
    plans, kept = api.prunable(runs or ())
    for reason in kept:
        info(f"kept    {reason}")
    _perform(plans, yes)


@app.command()
def rm(runs: Runs, force: Force = False, yes: Yes = False) -> None:
    """Remove runs with everything in them.

    \b
    lowmed runs rm runs/20260101-rarl
    lowmed runs rm runs/a runs/b --yes

    A running run is refused, and so is a run that another run next to it starts from (lora.start).
    """
    _perform(api.removable(runs, force=force), yes)


def _perform(plans: "list[Removal]", yes: bool) -> None:
    """Print what is removed, ask, remove."""
    from lowmed.errors import RunError
    from lowmed.report.runs_table import mib

    for plan in plans:
        info(f"remove  {plan.path}, {mib(plan.bytes)} MiB, {plan.status}")
    if not plans:
        info("nothing to remove")
        return
    total = f"{mib(sum(plan.bytes for plan in plans))} MiB"
    if not yes and not sys.stdin.isatty():
        raise RunError(
            "nothing was removed: there is no terminal to ask on", f"{len(plans)} folders, {total}", "add --yes"
        )
    if not yes:
        typer.confirm(f"Remove this, {total} in all?", abort=True, err=True)
    api.perform(plans)
    info(f"removed {total}")
