"""Train an adapter: start a run, or resume one."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed import processes
from lowmed.errors import RunError
from lowmed.progress import Log, Progress, no_log, silent

if TYPE_CHECKING:
    from lowmed.recipe import Recipe
    from lowmed.run import Run


def train(
    recipe: "Recipe",
    out: str | PathLike[str] | None = None,
    *,
    resume: bool = False,
    name: str = "run",
    max_minutes: float | None = None,
    allow_changed_data: bool = False,
    progress: Progress = silent,
    log: Log = no_log,
) -> "Run":
    """Train the adapter of a recipe in a new run directory.

    Args:
        recipe: all settings; its method decides between SFT and GRPO.
        out: the run directory; default `runs/<time>-<name>`.
        resume: if `out` holds a run of this recipe, resume it, or return it if it is finished. The recipe's section
            `track` may differ, and replaces that of the run.
        name: part of the default directory's name.
        max_minutes: stop with a checkpoint before this time is over, counted from the call.
        allow_changed_data: resume although the data have changed; every later table states it.
        progress: opens a progress bar.
        log: gets lines of text: model, backend, data, split.

    Returns:
        The run. Its record's `status` is `finished`, or `stopped` with a checkpoint that `resume_training` continues.

    Raises:
        LowmedError: the recipe, the data, the model or the machine do not allow it; nothing is written then.
        RunError: `out` exists and is not to be resumed, or holds a run of another recipe or one that another process
            trains, or the data have changed.
    """
    from lowmed.run import RECORD, open_run, require_new_run

    started = time.monotonic()
    processes.join()

    def existing() -> "Run | None":
        """The run in `out`, or None if it is to be created."""
        if resume and out and (Path(out) / RECORD).is_file():
            return open_run(fspath(out))
        if out:
            require_new_run(Path(out))  # before the data and the model are loaded
        return None

    run = processes.from_first(existing)
    run = run and _of_this_process(run)
    if run and run.record.recipe_digest != recipe.digest:
        raise RunError(
            "the run in that directory has another recipe",
            str(run),
            f"choose another --out, or resume it with its own recipe: --resume {run}",
        )
    if run is None:
        return _train(recipe, None, out, name, started, max_minutes, allow_changed_data, progress, log)
    if not _is_finished(run):  # a finished run may be on a read-only disk
        with _lock(run, log):
            if not _is_finished(run):  # it may have finished since
                run.track_by(recipe.track)
                return _train(recipe, run, out, name, started, max_minutes, allow_changed_data, progress, log)
    log(f"run     {run} is finished; nothing to do")
    return run


def resume_training(
    run: str | PathLike[str] = "auto",
    *,
    max_minutes: float | None = None,
    allow_changed_data: bool = False,
    progress: Progress = silent,
    log: Log = no_log,
) -> "Run":
    """Resume a run from its last checkpoint; its recipe stays as it is.

    Args:
        run: the run or its directory; `auto` is the newest unfinished run in `runs/`.
        max_minutes: as in `train`, like the next three.
        allow_changed_data: resume although the data have changed; every later table states it.
        progress: opens a progress bar.
        log: gets lines of text.

    Raises:
        RunError: there is no such run, it is finished, another process trains it, or its data have changed.
    """
    from lowmed.run import open_run

    started = time.monotonic()
    processes.join()
    opened = _of_this_process(processes.from_first(lambda: open_run(fspath(run))))
    if not _is_finished(opened):
        with _lock(opened, log):
            if not _is_finished(opened):  # it may have finished since
                recipe = opened.recipe
                return _train(recipe, opened, None, "", started, max_minutes, allow_changed_data, progress, log)
    raise RunError("the run is finished", str(opened), f"evaluate it: lowmed eval {opened}")


def _of_this_process(run: "Run") -> "Run":
    """The run, whose files only the first process writes."""
    from lowmed.followed_run import FollowedRun

    return run if processes.is_first() else FollowedRun(run.folder)


def _is_finished(run: "Run") -> bool:
    return run.record.status == "finished"


@contextmanager
def _lock(run: "Run", log: Log) -> Iterator[None]:
    """Let no other command train or remove the run. Where the file system has no locks, a line states that."""
    if not processes.is_first():
        yield
        return
    with run.lock() as held:
        if not held:
            log("lock    none: this file system has no locks; do not resume the run twice at the same time")
        yield


def _train(
    recipe: "Recipe",
    run: "Run | None",
    out: str | PathLike[str] | None,
    name: str,
    started: float,
    max_minutes: float | None,
    allow_changed_data: bool,
    progress: Progress,
    log: Log,
) -> "Run":
    from lowmed.api.preconditions import (
        require_applicable_rewards,
        require_readable_data,
        require_readable_question,
        require_same_preferences,
        require_same_rewards,
        require_trainable,
        require_usable_preferences,
    )
    from lowmed.data import for_recipe
    from lowmed.data.draws import describe_draws
    from lowmed.data.run_identity import (
        data_changes,
        keep_earlier_data,
        rows_of_start,
        store_start,
        warn_of_earlier_data,
        warnings_of_start,
    )
    from lowmed.engine import device

    if run:
        require_same_rewards(run)
    rewards = require_trainable(recipe)
    gpu = device.find_device(recipe.model)
    data = for_recipe(recipe, progress=progress)
    require_readable_data(recipe, data.split)
    if run:
        require_same_preferences(run, data.split)
    preferences = (*data.preferences, *require_usable_preferences(recipe, data.split))
    from lowmed.engine.load import choose_backend

    if choose_backend(recipe.model, gpu)[0] == "transformers":  # unsloth must be imported before transformers
        require_readable_question(recipe, data.split, local_only=False)
    if run:  # it keeps its steps, even if the data have changed
        recipe = recipe.model_copy(update={"method": run.recipe.method})
    else:
        recipe = recipe.with_steps_for(len(data.split.drawn))
    abstaining = require_applicable_rewards(recipe, rewards, data.split.train)
    data_split, started_before = data.split, bool(run and run.record.data_digest)
    changes = data_changes(run.folder, data_split) if run and started_before else []
    if changes and not allow_changed_data:
        raise RunError(
            "the data have changed since this run started",
            "\n".join([recipe.data.location, *changes]),
            "restore the data, start a new run, or go on with --allow-changed-data; every later table then states it",
        )

    if run and started_before:
        data_split = warn_of_earlier_data(run.folder, data_split, changed=bool(changes))

    from lowmed.engine import train as engine
    from lowmed.engine.out_of_memory import SmallerBatchError, free
    from lowmed.evaluation.dev import describe
    from lowmed.evaluation.split_size import describe_split
    from lowmed.run import create_run

    log(f"recipe  {recipe.about}")
    log(f"model   {recipe.model.name}, {recipe.model.load_in}, on {gpu.card} ({gpu.precision})")
    backend, reason = choose_backend(recipe.model, gpu)
    log(f"backend {backend}: {reason}")
    if recipe.method.completions_per_prompt:
        log("rollout " + ": ".join(device.choose_rollout(recipe.model, gpu, backend)))
    log("data    " + "\n        ".join(data.description))
    log("split   " + "\n        ".join(describe_split(data_split)))
    start_rows = rows_of_start(recipe.lora.start) if run is None else []
    by_start = warnings_of_start(start_rows, data_split)
    for part, warning in by_start.items():
        log(f"WARNING {part}: {warning}; every table of the run states it")
    log("draws   " + "\n        ".join(describe_draws(recipe, data_split)))
    for line in describe(recipe, data_split):
        log(f"dev     {line}")
    if data.filter_effect:
        log("filter  " + "\n        ".join(data.filter_effect))
    for line in data.unexplained_lines:
        log(f"SFT     {line}")
    if preferences:
        log("trained " + "\n        ".join(preferences))
    for note in recipe.method.notes:
        log(f"note    {note}")
    for abstention in abstaining:
        log(f"allowed {abstention}")
    loaded = engine.load_for_training(recipe)
    resumed = run is not None
    if run and changes and processes.is_first():
        keep_earlier_data(run.folder)
    run = run or _of_this_process(
        processes.from_first(lambda: create_run(recipe, name, out=None if out is None else fspath(out)))
    )
    if by_start and processes.is_first():
        store_start(run.folder, start_rows)
    log(f"run     {run.folder}")
    bar = progress(recipe.method.kind, recipe.method.max_steps, run.record.steps or 0)
    smaller_batch = False
    with nullcontext() if resumed else _lock(run, log), bar as advance:
        fit = partial(
            engine.train,
            run,
            data_split=data_split,
            report=lambda step, row: advance(step, _note(row)),
            deadline=started + 60 * max_minutes if max_minutes is not None else None,
            log=log,
        )
        try:
            fit(loaded, resume=resumed)
        except SmallerBatchError:
            smaller_batch = True
        if smaller_batch:  # as in a new process, because trainers leave their changes in a model
            del loaded
            free()
            fit(engine.load_for_training(recipe), resume=True)
    return run


def _note(metrics: Mapping[str, float]) -> str:
    shown = {
        "reward": "reward", "accuracy": "rewards/accuracy", "loss": "loss", "margin": "rewards/margins",
        "pairs right": "rewards/accuracies",
    }  # fmt: skip
    return "  ".join(f"{label} {metrics[key]:.3f}" for label, key in shown.items() if key in metrics)
