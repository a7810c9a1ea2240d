"""`lowmed eval`: held-out questions answered, graded, and put beside what needs no image."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import progress, say

if TYPE_CHECKING:
    from lowmed.data.division import Division
    from lowmed.run import Run

Target = Annotated[
    str, typer.Argument(metavar="RUN_OR_MODEL", help="A run folder, `nano`, a hub id or a model folder.")
]
On = Annotated[str | None, typer.Option("--on", help="Data source; default: what the run holds out.")]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of the source.")]
Base = Annotated[bool, typer.Option("--base", help="Put the untrained base model beside the run.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use the first so many questions of each split.")]
Out = Annotated[str | None, typer.Option("--out", help="Folder for predictions and report; default: inside the run.")]


def evaluate(
    target: Target,
    on: On = None,
    path: PathTo = None,
    base: Base = False,
    limit: Limit = None,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Answer held-out questions and grade them, beside the floor that needs no image.

    \b
    lowmed eval runs/20260101-rarl-nano --base                 tuned and base on the run's held-out questions
    lowmed eval runs/20260101-rarl --on vqa-rad --path ~/vqa-rad
    lowmed eval nano --on phantom                              a model without a run
    """
    from lowmed import prompt, recipe
    from lowmed import run as runs
    from lowmed.data.division import first
    from lowmed.errors import RecipeError, RunError

    run = runs.open_run(target) if (Path(target) / "run.json").is_file() else None
    if run is None and base:
        raise RecipeError("a model without a run is its own base", "--base", "leave --base out")
    plan = run.recipe if run else None
    if run and run.record["status"] != "finished":
        raise RunError(f"the run is {run.record['status']}, not finished", target, f"lowmed grpo --resume {target}")
    model = plan.model if plan else recipe.Model(name=target)
    family = prompt.family(plan.prompts.infer if plan else recipe.Prompts().infer)
    asking = plan.eval if plan else recipe.Eval()
    division = first(_division(run, on, path), limit or asking.limit)
    folder = Path(out) if out else _folder(run, target, division.source)
    adapters: dict[str, Path | None] = {"base": None} if run is None or base else {}
    adapters |= {"tuned": run.adapter} if run else {}

    from lowmed.evaluate import store
    from lowmed.evaluate.report import report, settings

    asked = settings(model, family, division, asking.max_new_tokens)
    store.open_folder(folder, asked)
    predictions = {}
    for who, adapter in adapters.items():
        rows = store.read(folder, who)
        if rows is None:
            from lowmed.engine.evaluation import predict

            with progress(f"eval {who}", sum(len(samples) for samples in division.held_out.values())) as advance:
                rows = predict(model, adapter, division, family, max_new_tokens=asking.max_new_tokens, advance=advance)
            store.write(folder, who, rows)
        predictions[who] = rows
    found = report(asked, division, predictions)
    runs.write_json(folder / "report.json", found)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    from lowmed.report import table

    table.show(found, run)
    say(f"\nreport and predictions  {folder}")
    if run:
        say(f"run and adapter         {run.folder}, {run.adapter}")
        say(f"next                    read {run.folder}/rollouts.jsonl; lowmed score {folder}/tuned.jsonl")


def _division(run: "Run | None", on: str | None, path: str | None) -> "Division":
    """What is asked: the run's own held-out questions, or all test questions of another source."""
    from lowmed.data.division import divide, untrained
    from lowmed.data.load import load
    from lowmed.errors import DataError, RecipeError

    plan = run.recipe if run else None
    if plan and run and on in (None, plan.data.source):
        division = divide(load(plan.data.source, path or plan.data.path), plan.data, plan.seed)
        if division.digest != run.record["data_digest"]:
            raise DataError(
                "the data are not those that the run was trained on, so that its held-out questions are not known",
                f"{plan.data.source}, digest {division.digest[:12]}",
                "point --path at the copy that was used, or evaluate on another source with --on",
            )
        return division
    if on is None:
        raise RecipeError(
            "no data to evaluate on", "--on", "name a source, e.g. --on phantom, or evaluate a run folder"
        )
    return untrained(load(on, path))


def _folder(run: "Run | None", target: str, source: str) -> Path:
    from lowmed.run import FOLDER

    return run.folder / "evals" / source if run else Path(FOLDER) / f"eval-{Path(target).name}-{source}"
