"""`lowmed bridge`: measure support, then RL where there is some, else a round of SFT, and measure again."""

import gc
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowmed.cli import options, train
from lowmed.cli.progress import Advance, info, progress
from lowmed.cli.train import MaxMinutes

if TYPE_CHECKING:
    from lowmed.data.split import DataSplit
    from lowmed.recipe import Recipe

RECORD = "bridge.json"
Out = Annotated[str | None, typer.Option("--out", help="Folder of all stages; default runs/<time>-<recipe>.")]
Resume = Annotated[str | None, typer.Option("--resume", help="Go on with the bridge in that folder.")]
Stages = list[dict[str, Any]]


def bridge(
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    nano: options.Nano = False,
    out: Out = None,
    resume: Resume = None,
    max_minutes: MaxMinutes = None,
    as_json: options.Json = False,
) -> None:
    """Pay for RL only where the model already reaches right answers at times; else bridge by SFT and measure again.

    \b
    lowmed bridge --recipe medbridge
    lowmed bridge --recipe medbridge --nano bridge.questions=40 method.max_steps=20 bridge.sft.max_steps=20
    lowmed bridge --resume runs/20260101-medbridge --max-minutes 500

    The folder holds one ordinary probe or run a stage (1-probe, 2-sft, 3-probe, 4-grpo) and bridge.json with every
    decision and its numbers. Ends with 0 where RL was done, with 1 where the rule says that it is not worth it.
    Stopped by --max-minutes it ends with 0 too, and says how to go on: nothing that was asked or trained is lost.
    """
    clock = Clock(None if max_minutes is None else time.monotonic() + 60 * max_minutes)
    folder, recipe = (
        _resumed(resume, overrides, recipe_name, nano, out) if resume else _new(overrides, recipe_name, nano, out)
    )
    try:
        stages, finished = _walk(folder, recipe, clock)
    except (typer.Exit, KeyboardInterrupt):  # a stage was stopped, and has said so
        info(f"next    lowmed bridge --resume {folder}")
        raise
    if as_json:
        print(json.dumps({"folder": str(folder), "stages": stages}, indent=2))
    info(f"bridge  {folder / RECORD}")
    if not finished:
        raise typer.Exit(1)
    info(f"next    lowmed eval {folder / stages[-1]['stage']} --base")


@dataclass(frozen=True)
class Clock:
    """The time at which a bridge stops by itself, on the monotonic clock in seconds; None for never."""

    deadline: float | None

    def minutes_left(self) -> float | None:
        """Until then, for the next stage.

        Raises:
            Exit: no time is left.
        """
        if self.deadline is None:
            return None
        left = (self.deadline - time.monotonic()) / 60
        if left <= 0:
            info("stopped (time); nothing is lost")
            raise typer.Exit(0)
        return left

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """Progress that ends a probe in time; each completion is stored before it is told of, and is not asked for again."""
        with progress(what, total) as advance:

            def told(done: int, note: str) -> None:
                advance(done, note)
                if done < total:
                    self.minutes_left()

            yield told


def _walk(folder: Path, recipe_name: "Recipe", clock: Clock) -> tuple[Stages, bool]:
    """All stages in turn, those that are there already taken as they stand; whether RL was done."""
    from lowmed.evaluate.bridge_rule import Step, bridge_spec, next_step, stage_recipe, support_figures

    rule = bridge_spec(recipe_name)
    stages: Stages = []
    adapter: Path | None = None
    then: Step = "sft"
    while then == "sft":
        name = f"{len(stages) + 1}-probe"
        result = support_figures(_probe(folder / name, recipe_name, adapter, clock))
        then, why = next_step(result["verdict"], sum(stage["kind"] == "sft" for stage in stages), rule.rounds)
        stages.append({"stage": name, "kind": "probe", **result, "then": then, "why": why})
        _record(folder, stages, "running")
        info(f"{name}  {result['verdict']}: {result['reason']} {why}")
        if then != "stop":
            name = f"{len(stages) + 1}-{then}"
            _train(folder / name, stage_recipe(recipe_name, then, adapter), clock)
            stages.append({"stage": name, "kind": then, "from": adapter.name if adapter else None})
            adapter = folder / name
        gc.collect()  # the stage's model goes before the next one is loaded
    _record(folder, stages, "finished" if then == "grpo" else "stopped")
    return stages, then == "grpo"


def _new(overrides: list[str] | None, recipe_name: str | None, nano: bool, out: str | None) -> tuple[Path, "Recipe"]:
    from lowmed.errors import RunError
    from lowmed.evaluate.bridge_rule import bridge_spec
    from lowmed.files import disk_errors, write_text
    from lowmed.recipe.io import dump_recipe, load_recipe, portable_recipe
    from lowmed.run import FOLDER

    recipe = load_recipe(options.require_recipe(recipe_name), overrides or [], nano=nano)
    bridge_spec(recipe)
    name = options.run_name(options.require_recipe(recipe_name), nano)
    folder = Path(out) if out else Path(FOLDER) / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
    if folder.exists():
        raise RunError("the folder exists", str(folder), f"choose another --out, or go on with --resume {folder}")
    _questions(recipe, 1)  # a mistake in the data ends here, with nothing written
    with disk_errors(folder):
        folder.mkdir(parents=True)
        write_text(folder / "recipe.yaml", dump_recipe(portable_recipe(recipe)))
        _record(folder, [], "running")
    return folder, recipe


def _resumed(
    resume: str, overrides: list[str] | None, recipe_name: str | None, nano: bool, out: str | None
) -> tuple[Path, "Recipe"]:
    from lowmed.errors import RecipeError, RunError
    from lowmed.recipe.io import load_recipe

    folder = Path(resume)
    if not (folder / RECORD).is_file():
        raise RunError("this is no bridge", resume, f"name a folder that holds {RECORD}")
    recipe = load_recipe(str(folder / "recipe.yaml"))
    if recipe_name or overrides or out or (nano and recipe.model.name != "nano"):
        raise RecipeError("a resumed bridge keeps its recipe", "--resume", "give --resume alone, or start a new one")
    return folder, recipe


def _questions(recipe_name: "Recipe", limit: int) -> "DataSplit":
    """The first training questions, on which support is measured."""
    from lowmed.data import for_recipe
    from lowmed.data.split import training_questions_only

    return training_questions_only(for_recipe(recipe_name, progress=progress).split, limit)


def _probe(folder: Path, recipe_name: "Recipe", adapter: Path | None, clock: Clock) -> dict[str, Any]:
    """Support on training questions, of the base or of the adapter that the stage before left."""
    from lowmed.engine import evaluator
    from lowmed.evaluate.bridge_rule import bridge_spec
    from lowmed.evaluate.target import EvalTarget
    from lowmed.files import read_json
    from lowmed.recipe import GrpoSpec

    if (folder / "probe.json").is_file():
        return read_json(folder / "probe.json")
    rule, method = bridge_spec(recipe_name), recipe_name.method
    assert isinstance(method, GrpoSpec)  # which the rule has seen to
    start = adapter or (Path(recipe_name.lora.start) if recipe_name.lora.start else None)
    adapters: dict[str, Path | None] = {"tuned": start} if start else {"base": None}
    return evaluator.probe(
        EvalTarget(
            recipe_name.model, recipe_name.prompts.training, recipe_name.eval, None, adapters
        ),  # asked as RL would ask
        _questions(recipe_name, rule.questions),
        "",
        folder,
        samples=rule.samples,
        temperature=method.temperature,
        support=rule.support,
        progress=clock.progress,
    )


def _train(folder: Path, stage: "Recipe", clock: Clock) -> None:
    """The stage's run, begun, gone on with, or left as it is when it is finished."""
    from lowmed.files import write_text
    from lowmed.recipe.io import dump_recipe, portable_recipe

    file = folder.with_suffix(".yaml")
    if not file.exists():
        write_text(file, dump_recipe(portable_recipe(stage)))
    verb = {"grpo": train.grpo, "sft": train.sft}[stage.method.kind]
    verb(recipe_name=str(file), out=str(folder), resume="auto", max_minutes=clock.minutes_left())


def _record(folder: Path, stages: Stages, status: str) -> None:
    from lowmed.files import write_json

    write_json(folder / RECORD, {"status": status, "stages": stages})
