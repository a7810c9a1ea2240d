"""`lowmed bridge`: RL where the model has support, else SFT first."""

import json
from typing import Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import info, progress
from lowmed.cli.train import MaxMinutes

Out = Annotated[str | None, typer.Option("--out", help="Directory of all stages; default runs/<time>-<recipe>.")]
Resume = Annotated[str | None, typer.Option("--resume", help="Resume the bridge in that directory.")]


def bridge(
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    nano: options.Nano = False,
    out: Out = None,
    resume: Resume = None,
    max_minutes: MaxMinutes = None,
    as_json: options.Json = False,
) -> None:
    """Train by RL if a probe shows support, else by SFT first.

    \b
    lowmed bridge --recipe medbridge
    lowmed bridge --recipe medbridge --nano bridge.questions=40 method.max_steps=20 bridge.sft.max_steps=20
    lowmed bridge --resume runs/20260101-medbridge --max-minutes 500

    The directory holds one probe or run per stage (1-probe, 2-sft, 3-probe, 4-grpo) and bridge.json with every
    decision and its numbers. Exit code 0 after RL, 1 if the rule decided against RL. A bridge that
    --max-minutes stopped exits with 0 and prints how to resume it; nothing is lost.
    """
    from lowmed.api import bridge as api
    from lowmed.errors import RecipeError
    from lowmed.recipe.io import load_recipe

    if resume:
        if recipe_name or overrides or out:
            raise RecipeError(
                "a resumed bridge keeps its recipe", "--resume", "give --resume alone, or start a new one"
            )
        report = api.resume_bridge(resume, max_minutes=max_minutes, progress=progress, log=info)
    else:
        name = options.require_recipe(recipe_name)
        recipe = load_recipe(name, overrides or [], nano=nano)
        report = api.bridge(
            recipe, out, name=options.run_name(name, nano), max_minutes=max_minutes, progress=progress, log=info
        )
    if as_json:
        stages = [stage.model_dump(mode="json") for stage in report.stages]
        print(json.dumps({"folder": str(report.folder), "status": report.status, "stages": stages}, indent=2))
    if report.status == "stopped":
        info(f"stopped ({report.reason}); nothing is lost")
        info(f"next    lowmed bridge --resume {report.folder}")
        raise typer.Exit(0 if report.reason == "time" else 130)
    info(f"bridge  {report.folder / api.RECORD}")
    if report.status == "refused":
        raise typer.Exit(1)
    info(f"next    lowmed eval {report.folder / report.stages[-1].stage} --with-base")
