"""Train by RL if a probe shows support, else run a round of SFT and probe again."""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lowmed import processes
from lowmed.api.train import train
from lowmed.errors import RunError
from lowmed.progress import Advance, Log, Progress, no_log, silent

if TYPE_CHECKING:
    from lowmed.data.split import DataSplit
    from lowmed.evaluation.records import BridgeStage, ProbeReport
    from lowmed.recipe import Recipe

RECORD = "bridge.json"


@dataclass(frozen=True)
class BridgeReport:
    """The result of a bridge.

    Attributes:
        folder: contains one probe or run per stage, and bridge.json.
        status: `finished` after RL, `refused` if the rule decided against RL, or `stopped` by `max_minutes` or an
            interruption; `resume_bridge` continues a stopped bridge.
        stages: probes and training runs, in order.
        reason: why a bridge is `stopped`: "time" or "interrupted"; "" otherwise.
    """

    folder: Path
    status: Literal["finished", "refused", "stopped"]
    stages: tuple["BridgeStage", ...]
    reason: str = ""


class StoppedError(Exception):
    """A stage stopped before its end."""


def bridge(
    recipe: "Recipe",
    out: str | PathLike[str] | None = None,
    *,
    name: str = "bridge",
    max_minutes: float | None = None,
    progress: Progress = silent,
    log: Log = no_log,
) -> BridgeReport:
    """Probe, then train by the recipe's RL method if the probe shows support, else by a round of SFT; repeat.

    Args:
        recipe: with a `bridge` section.
        out: directory of all stages; default `runs/<time>-<name>`.
        name: part of the default directory's name.
        max_minutes: stop before this time is over, counted from the call, over all stages.
        progress: opens a progress bar.
        log: gets lines of text.

    Raises:
        RecipeError: the recipe has no `bridge` section, or a stage cannot train on the data: a reward abstains on most
            questions, or the SFT rounds lack explanations.
        RunError: the directory exists.
    """
    from lowmed.evaluation.bridge_rule import bridge_spec
    from lowmed.files import new_folder, require_absent, write_text
    from lowmed.recipe.io import dump_recipe, portable_recipe
    from lowmed.run import FOLDER

    started = time.monotonic()
    processes.require_single("bridge")
    bridge_spec(recipe)
    folder = Path(out) if out else Path(FOLDER) / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
    fix = f"choose another --out, or --resume {folder}"
    require_absent(folder, "the directory", fix)
    _require_trainable_stages(recipe)  # a mistake must show before anything is written
    try:
        with new_folder(folder) as aside:  # a killed process leaves a bridge to resume, or nothing
            write_text(aside / "recipe.yaml", dump_recipe(portable_recipe(recipe)))
            _record(aside, [], "running")
    except OSError as error:
        if folder.exists():  # created in the meantime
            raise RunError("the directory exists", str(folder), fix) from error
        raise
    return _walk(folder, recipe, Clock(started, max_minutes), progress, log)


def resume_bridge(
    folder: str | PathLike[str],
    *,
    max_minutes: float | None = None,
    progress: Progress = silent,
    log: Log = no_log,
) -> BridgeReport:
    """Resume a bridge; finished stages are read, not repeated.

    Args:
        folder: its directory.
        max_minutes: as in `bridge`, like the next two.
        progress: opens a progress bar.
        log: gets lines of text.

    Raises:
        RunError: the directory contains no bridge, its bridge.json is damaged or of a newer format, or another process
            uses the bridge.
        RecipeError: the user has not approved the file of a custom reward.
    """
    processes.require_single("bridge")
    from lowmed.evaluation.records import BridgeRecord
    from lowmed.recipe.io import load_recipe
    from lowmed.records import read_record
    from lowmed.rewards import require_trusted

    started, folder = time.monotonic(), Path(folder)
    if not (folder / RECORD).is_file():
        raise RunError("not a bridge directory", str(folder), f"name a directory that holds {RECORD}")
    read_record(folder / RECORD, BridgeRecord)
    recipe = load_recipe(str(folder / "recipe.yaml"))
    require_trusted(recipe.method.reward_specs)  # before hours of stages that need no rewards
    return _walk(folder, recipe, Clock(started, max_minutes), progress, log)


@dataclass(frozen=True)
class Clock:
    """The time limit of a bridge: when it was called, and the minutes that it may take."""

    started: float
    max_minutes: float | None

    def minutes_left(self) -> float | None:
        """Minutes until the limit, None without one.

        Raises:
            StoppedError: none are left.
        """
        if self.max_minutes is None:
            return None
        left = self.max_minutes - (time.monotonic() - self.started) / 60
        if left <= 0:
            raise StoppedError("time")
        return left

    def limited(self, progress: Progress) -> Progress:
        """A progress bar that ends a probe in time: each completion is stored before it is reported."""

        @contextmanager
        def limited(label: str, total: int, start: int = 0) -> Iterator[Advance]:
            with progress(label, total, start) as advance:

                def checked(done: int, note: str) -> None:
                    advance(done, note)
                    if done < total:
                        self.minutes_left()

                yield checked

        return limited


def _walk(folder: Path, recipe: "Recipe", clock: Clock, progress: Progress, log: Log) -> BridgeReport:
    """Run all stages in turn; finished stages are read, not repeated."""
    from lowmed.run import lock_folder

    with lock_folder(folder, "bridge") as held:
        if not held:
            log("lock    none: this file system has no locks; do not resume the bridge twice at the same time")
        return _stages(folder, recipe, clock, progress, log)


def _stages(folder: Path, recipe: "Recipe", clock: Clock, progress: Progress, log: Log) -> BridgeReport:
    from lowmed.evaluation.bridge_rule import Step, bridge_spec, next_step, probe_stage, stage_recipe
    from lowmed.evaluation.records import TrainingStage

    spec = bridge_spec(recipe)
    stages: list[BridgeStage] = []
    adapter: Path | None = None
    step: Step = "sft"
    try:
        while step == "sft":
            name = f"{len(stages) + 1}-probe"
            probe = _probe(folder / name, recipe, adapter, clock, progress)
            rounds = sum(stage.kind == "sft" for stage in stages)
            step, why = next_step(probe.all.verdict, rounds, spec.rounds)
            stages.append(probe_stage(name, probe, step, why))
            _record(folder, stages, "running")
            log(f"{name}  {probe.all.verdict}: {probe.all.reason} {why}")
            if step != "stop":
                name = f"{len(stages) + 1}-{step}"
                _train(folder / name, stage_recipe(recipe, step, adapter), clock, progress, log)
                stages.append(TrainingStage(stage=name, kind=step, start=adapter.name if adapter else None))
                adapter = folder / name
            gc.collect()  # frees the stage's model before the next one is loaded
    except StoppedError as stopped:
        return BridgeReport(folder, "stopped", tuple(stages), str(stopped))
    status: Literal["finished", "refused"] = "refused" if step == "stop" else "finished"
    _record(folder, stages, status)
    return BridgeReport(folder, status, tuple(stages))


def _require_trainable_stages(recipe: "Recipe") -> None:
    """Check what the stages require of the recipe and its data.

    Raises:
        LowmedError: the RL stage or an SFT round would fail.
    """
    from lowmed.api.preconditions import require_applicable_rewards, require_readable_data, require_trainable
    from lowmed.data import for_recipe
    from lowmed.data.explanations import keep_trainable
    from lowmed.evaluation.bridge_rule import stage_recipe

    rewards = require_trainable(recipe)
    split = for_recipe(recipe).split
    require_readable_data(recipe, split)
    samples = split.train
    require_applicable_rewards(recipe, rewards, samples)
    keep_trainable(samples, stage_recipe(recipe, "sft", None))


def _questions(recipe: "Recipe", limit: int) -> "DataSplit":
    """The first training questions, on which support is measured."""
    from lowmed.data import for_recipe
    from lowmed.data.split import training_questions_only

    return training_questions_only(for_recipe(recipe).split, limit)


def _probe(folder: Path, recipe: "Recipe", adapter: Path | None, clock: Clock, progress: Progress) -> "ProbeReport":
    """Support on training questions, of the base or of the adapter from the stage before."""
    from lowmed.engine import evaluator
    from lowmed.evaluation.bridge_rule import bridge_spec
    from lowmed.evaluation.records import ProbeReport
    from lowmed.evaluation.target import EvalTarget
    from lowmed.records import read_record

    if (folder / "probe.json").is_file():
        return read_record(folder / "probe.json", ProbeReport)
    spec = bridge_spec(recipe)
    start = adapter or (Path(recipe.lora.start) if recipe.lora.start else None)
    adapters: dict[str, Path | None] = {"tuned": start} if start else {"base": None}
    # The prompts and the temperature are those of training: support is what RL would sample.
    target = EvalTarget(recipe.model, recipe.prompts.training, recipe.eval, None, adapters)
    return evaluator.probe(
        target,
        _questions(recipe, spec.questions),
        "",
        folder,
        samples=spec.samples,
        temperature=recipe.method.sampling_temperature,
        support=spec.support,
        progress=clock.limited(progress),
    )


def _train(folder: Path, recipe: "Recipe", clock: Clock, progress: Progress, log: Log) -> None:
    """Start or resume the run of a stage; a finished run stays unchanged."""
    from lowmed.files import write_text
    from lowmed.recipe.io import dump_recipe, load_recipe, portable_recipe

    file = folder.with_suffix(".yaml")
    if not file.exists():
        write_text(file, dump_recipe(portable_recipe(recipe)))
    run = train(
        load_recipe(str(file)), folder, resume=True, max_minutes=clock.minutes_left(), progress=progress, log=log
    )
    if run.record.status != "finished":
        raise StoppedError("time" if run.record.reason == "time" else "interrupted")


def _record(folder: Path, stages: "Sequence[BridgeStage]", status: Literal["running", "finished", "refused"]) -> None:
    from lowmed.evaluation.records import BridgeRecord

    BridgeRecord(status=status, stages=tuple(stages)).write(folder / RECORD)
