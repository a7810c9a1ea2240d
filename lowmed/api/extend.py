"""Continue a run for more steps, as a new run that starts from a copy of its last checkpoint."""

import shutil
from collections.abc import Callable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed import processes
from lowmed.data.run_identity import EARLIER, ROWS, SPLIT, START
from lowmed.errors import RecipeError, RunError
from lowmed.progress import Log, Progress, no_log, silent

if TYPE_CHECKING:
    from lowmed.recipe import Recipe
    from lowmed.run import Run

CHANGEABLE = ("method.max_steps", "dev.patience", "dev.keep")
RECORDS = ("metrics.jsonl", "rollouts.jsonl", "canaries.jsonl", "dev.jsonl", "dev_completions.jsonl")
DATA = (SPLIT, ROWS, EARLIER, START)


def extend_training(
    run: str | PathLike[str],
    overrides: Sequence[str],
    out: str | PathLike[str],
    *,
    max_minutes: float | None = None,
    allow_changed_data: bool = False,
    progress: Progress = silent,
    log: Log = no_log,
) -> "Run":
    """Train a finished or stopped run for more steps in a new run directory. The run itself stays as it is.

    With a constant learning rate the result is that of a run which had this number of steps from the start.

    Args:
        run: the run to continue.
        overrides: `method.max_steps=N`, and optionally `dev.patience` and `dev.keep`.
        out: the new run directory.
        max_minutes: as in `train`, like the next three.
        allow_changed_data: go on although the data have changed.
        progress: opens a progress bar.
        log: gets lines of text.

    Raises:
        RecipeError: the overrides change other keys, or leave nothing to train.
        RunError: the run has no checkpoint, or is being trained, or the new directory exists, or
            the code of its rewards has changed.
    """
    from lowmed.api.preconditions import require_same_rewards
    from lowmed.api.train import resume_training
    from lowmed.rewards import require_trusted
    from lowmed.run import RECIPE, open_run, require_new_run

    def extended() -> "Run":
        source = open_run(fspath(run))
        require_new_run(Path(out))
        recipe = _extended_recipe(source.folder / RECIPE, source.recipe, overrides)
        require_same_rewards(source)
        require_trusted(recipe.method.reward_specs)  # before anything is copied
        with source.lock():
            return _copy(source, recipe, Path(out), log)

    processes.join()
    return resume_training(
        processes.from_first(extended),
        max_minutes=max_minutes,
        allow_changed_data=allow_changed_data,
        progress=progress,
        log=log,
    )


def _extended_recipe(file: Path, before: "Recipe", overrides: Sequence[str]) -> "Recipe":
    from lowmed.recipe.io import load_recipe
    from lowmed.report.run_details import flat

    after = load_recipe(str(file), overrides)
    old, new = (
        flat(recipe.model_dump(mode="json", exclude={"about", "provenance", "track"})) for recipe in (before, after)
    )
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    # A number of steps replaces `epochs`, from which the steps of the run were derived.
    allowed = (*CHANGEABLE, *(["method.epochs"] if after.method.epochs is None else []))
    if others := [key for key in changed if key not in allowed]:
        raise RecipeError(
            f"a continued run keeps its recipe but for {', '.join(CHANGEABLE)}",
            ", ".join(others),
            "leave these out, or start a new run from the adapter: lora.start=RUN",
        )
    return after


def _copy(source: "Run", recipe: "Recipe", out: Path, log: Log) -> "Run":
    """A new run directory in the state of the last checkpoint."""
    from lowmed.engine.adapter import copy_adapter
    from lowmed.evaluation import dev
    from lowmed.files import disk_errors, utc_now
    from lowmed.run import create_run

    record, checkpoint = source.record, _intact_checkpoint(source, log)
    step = int(checkpoint.name.rpartition("-")[2])
    if step >= recipe.method.max_steps:
        raise RecipeError(
            f"the run has {step} steps already",
            f"method.max_steps={recipe.method.max_steps}",
            f"give more, e.g. method.max_steps={2 * step}",
        )
    lines = dev.comparable([line for line in source.rows(dev.FILE) if line["step"] <= step])
    if dev.is_exhausted(lines, recipe.dev.patience):
        raise RecipeError(
            f"the run ended early: {record.reason}",
            f"dev.patience={recipe.dev.patience}",
            "raise dev.patience too, or set dev.patience=null",
        )
    best = dev.best_line(lines)
    best_adapter = _best_adapter(source, best["step"]) if best else None
    if best and best_adapter is None and recipe.dev.keep == "best":
        raise RecipeError(
            f"the adapter with the highest dev accuracy, that of step {best['step']}, was not kept",
            f"dev.keep=best, {source}",
            "extend it with dev.keep=last",
        )
    extended = create_run(recipe, record.name, out=str(out))
    with disk_errors(out):
        for name in (*DATA, *RECORDS):
            if (source.folder / name).is_file():
                shutil.copyfile(source.folder / name, out / name)
        shutil.copytree(checkpoint, extended.checkpoints / checkpoint.name)
        if best and best_adapter:
            copy_adapter(best_adapter, out / "best" / f"step-{best['step']}")
    kept = {"recipe_digest", "started", "name", "status", "format"}
    state = {name: value for name, value in record.as_json().items() if name not in kept}
    origin = f"{source.folder.resolve().name}, step {step}"
    extended.update(**state | {"status": "stopped", "reason": None, "error": None, "adapter_step": None})
    extended.update(steps=step, ended=utc_now(), continues=origin)
    for line in _schedule_lines(source.recipe, recipe, step):
        log(line)
    return extended


def _intact_checkpoint(source: "Run", log: Log) -> Path:
    """The last intact checkpoint; a line names damaged ones, which stay where they are.

    Raises:
        RunError: there is none.
    """
    from lowmed.engine.checkpoint_damage import change
    from lowmed.engine.checkpoints import none_intact

    reasons: dict[Path, str] = {}
    for checkpoint in source.complete_checkpoints():
        if reason := change(checkpoint):
            reasons[checkpoint] = reason
            continue
        if reasons:
            damaged = ", ".join(f"{folder.name} is damaged ({why})" for folder, why in reasons.items())
            log(f"extend  {damaged}; it starts from {checkpoint.name}")
        return checkpoint
    if reasons:
        raise none_intact(source, reasons)
    raise RunError(
        "the run has no checkpoint to continue from",
        str(source.checkpoints),
        f"start a new run from its adapter: lora.start={source}",
    )


def _best_adapter(source: "Run", step: int) -> Path | None:
    """The adapter of a step: of the finished run, one that an unfinished run keeps, or that of a checkpoint."""
    from lowmed.engine.checkpoint_damage import change

    if source.record.adapter_step == step and source.adapter.is_dir():
        return source.adapter
    folder, checkpoint = source.folder / "best" / f"step-{step}", source.checkpoints / f"checkpoint-{step}"
    if folder.is_dir():
        return folder
    return checkpoint if checkpoint in source.complete_checkpoints() and not change(checkpoint) else None


def _schedule_lines(before: "Recipe", after: "Recipe", step: int) -> list[str]:
    """What happens to the learning rate."""
    old, new = before.method, after.method
    if new.lr_scheduler_type == "constant" and not new.warmup_ratio:
        return [f"extend  from step {step} to {new.max_steps}; the learning rate stays constant"]
    factor = _learning_rate(old.lr_scheduler_type, old.warmup_ratio, old.max_steps)
    longer = _learning_rate(new.lr_scheduler_type, new.warmup_ratio, new.max_steps)
    rates = f"from {old.learning_rate * factor(step):.2g} to {new.learning_rate * longer(step):.2g}"
    return [
        f"extend  from step {step} to {new.max_steps}. The schedule ({new.lr_scheduler_type}) now spans all steps:",
        f"        the learning rate goes {rates}, and the result is not that of an equally long run",
    ]


def _learning_rate(kind: str, warmup_ratio: float, max_steps: int) -> Callable[[int], float]:
    """The factor of the learning rate at a step, as transformers computes it.

    It is computed here because transformers must not be imported before unsloth, which may train the run.
    """
    import math

    warmup = round(warmup_ratio * max_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        progress = min(1.0, (step - warmup) / max(1, max_steps - warmup))
        return {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[kind]

    return factor
