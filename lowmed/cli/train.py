"""`lowmed grpo` and `lowmed sft`: one training run from a recipe."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import info, progress

if TYPE_CHECKING:
    from lowmed.recipe import Recipe
    from lowmed.run import Run

Out = Annotated[str | None, typer.Option("--out", help="Folder of the run; default runs/<time>-<recipe>.")]
Resume = Annotated[
    str | None,
    typer.Option("--resume", help="Go on with this run; `auto` = the newest unfinished one, or with --out that one."),
]
MaxMinutes = Annotated[
    float | None, typer.Option("--max-minutes", min=0.0, help="Stop in time with a checkpoint, counted from now.")
]


def grpo(
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    nano: options.Nano = False,
    out: Out = None,
    resume: Resume = None,
    max_minutes: MaxMinutes = None,
) -> None:
    """Train an adapter by GRPO: sample completions, reward them, prefer the better ones.

    \b
    lowmed grpo --recipe rarl                                  on a CUDA card
    lowmed grpo --recipe rarl --nano                           no GPU, no download, minutes
    lowmed grpo --recipe rarl lora.start=runs/20260101-rarl-sft method.max_steps=300
    lowmed grpo --recipe rarl data.source=vqa-rad data.path=~/vqa-rad
    lowmed grpo --resume auto --max-minutes 500                go on; stop before a notebook is cut off
    lowmed grpo --recipe rarl --out runs/r --resume auto       start it, or go on where it was
    """
    _train("grpo", recipe_name, overrides or [], nano, out, resume, max_minutes)


def sft(
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    nano: options.Nano = False,
    out: Out = None,
    resume: Resume = None,
    max_minutes: MaxMinutes = None,
) -> None:
    """Train an adapter on reference completions.

    \b
    lowmed sft --recipe rarl-sft                               on a CUDA card
    lowmed sft --recipe rarl-sft --nano                        no GPU, no download, minutes
    lowmed sft --recipe rarl-sft data.source=folder data.path=~/my-data
    """
    _train("sft", recipe_name, overrides or [], nano, out, resume, max_minutes)


def _train(
    kind: str,
    name: str | None,
    overrides: list[str],
    nano: bool,
    out: str | None,
    resume: str | None,
    max_minutes: float | None,
) -> None:
    began = time.monotonic()
    from lowmed import rewards
    from lowmed.data import for_recipe
    from lowmed.errors import RecipeError, RunError
    from lowmed.recipe.io import load_recipe
    from lowmed.run import create_run, open_run

    if resume == "auto" and name and out:  # one command for a notebook cell: start, or go on where it was
        resume = out if (Path(out) / "run.json").is_file() else None
        if resume and not _same(open_run(out), load_recipe(name, overrides, nano=nano)):
            return
        name, overrides, nano, out = (None, [], False, None) if resume else (name, overrides, nano, out)
    if resume:
        run = open_run(resume)
        recipe = run.recipe
        if name or overrides or out or (nano and recipe.model.name != "nano"):
            raise RecipeError(
                "a resumed run keeps its recipe",
                "--resume",
                "give --resume and --max-minutes alone, or start a new run",
            )
        if run.record["status"] == "finished":
            raise RunError("the run is finished", resume, f"evaluate it: lowmed eval {resume}")
    else:
        recipe = load_recipe(options.require_recipe(name), overrides, nano=nano)
    if recipe.method.kind != kind:
        raise RecipeError(
            f"this recipe trains by {recipe.method.kind}",
            "method.kind",
            f"use `lowmed {recipe.method.kind}`, or another recipe",
        )
    rewards.for_recipe(recipe)  # a mistake in them is told before anything is loaded
    from lowmed.engine import device
    from lowmed.engine import load as models

    if refused := device.unsupported_error(recipe):
        raise refused
    here = device.find_device(recipe.model)
    data = for_recipe(recipe, progress=progress)
    data_split = data.split

    info(f"recipe  {name or resume}: {recipe.about}")
    info(f"model   {recipe.model.name}, {recipe.model.load_in}, on {here.card} ({here.precision})")
    info("backend " + ": ".join(models.choose_backend(recipe.model, here)))
    if kind == "grpo":
        info("rollout " + ": ".join(device.choose_rollout(recipe.model, here)))
    info("data    " + "\n        ".join(data.description))
    info("split   " + "\n        ".join(data_split.describe()))

    from lowmed.engine import train as engine

    loaded = engine.load_for_training(recipe)
    if not resume:
        run = create_run(recipe, options.run_name(options.require_recipe(name), nano), out=out)
    info(f"run     {run.folder}")
    start = run.record.get("steps", 0)
    with progress(kind, recipe.method.max_steps, start) as advance:
        status = engine.train(
            run,
            loaded,
            data_split,
            report=lambda update, row: advance(update, _note(row)),
            deadline=began + 60 * max_minutes if max_minutes is not None else None,
            resume=bool(resume),
        )
    record = run.record
    if status == "stopped":
        info(
            f"stopped ({record['reason']}) after update {record['steps']} of {recipe.method.max_steps}; nothing is lost"
        )
        info(f"next    lowmed {kind} --resume {run.folder}")
        raise typer.Exit(0 if record["reason"] == "time" else 130)
    info(f"done    {record['seconds']:.0f} s, peak {record['peak_gib']:.2f} GiB, adapter in {run.adapter}")
    info(f"next    lowmed eval {run.folder} --base")


def _same(run: "Run", recipe: "Recipe") -> bool:
    """Whether there is work left in that run of that recipe.

    Raises:
        RunError: the run is of another recipe.
    """
    from lowmed.errors import RunError

    if run.record["recipe_digest"] != recipe.digest:
        raise RunError(
            "the run in that folder is of another recipe",
            str(run.folder),
            f"choose another --out, or go on with what it is: --resume {run.folder}",
        )
    if run.record["status"] == "finished":
        info(f"done    {run.folder} is finished; nothing to do")
        return False
    return True


def _note(row: dict[str, float]) -> str:
    shown = {"reward": "reward", "accuracy": "rewards/accuracy", "loss": "loss"}
    return "  ".join(f"{label} {row[key]:.3f}" for label, key in shown.items() if key in row)
