"""Checkpoints: their digests, which one a run resumes from, and errors where one cannot be loaded.

The Trainer ignores a missing optimizer or generator, and fails on a damaged one with errors of torch and pickle.
"""

import contextlib
import functools
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lowmed.engine.checkpoint_damage import damage, digest, file_names, first_line, step_of
from lowmed.errors import LowmedError, RunError
from lowmed.files import disk_errors, write_json
from lowmed.progress import Log
from lowmed.run import COMPLETE, Run

SCALER = "scaler.pt"
DAMAGED = "damaged-"  # a damaged checkpoint gets this prefix; nothing reads it again
_LOADERS = ("_load_from_checkpoint", "_load_optimizer_and_scheduler", "_load_scaler", "_load_rng_state")


def mark_complete(folder: Path, step: int) -> None:
    """Write complete.json with the digest of every file. It is written last: a checkpoint without it is ignored."""
    with disk_errors(folder):
        files = {name: digest(folder / name) for name in sorted(file_names(folder))}
    write_json(folder / COMPLETE, {"step": step, "files": files})


def require_precision(run: Run, precision: str) -> None:
    """Check that the last checkpoint of a run can be loaded in a precision. Only fp16 has a scaler of the loss.

    Raises:
        RunError: the run was trained in fp16, and this machine computes in another precision.
    """
    last = run.last_checkpoint()
    if last and precision != "fp16" and (last / SCALER).is_file():
        raise RunError(
            f"the run was trained in fp16 on {run.record.card}, and this machine computes in {precision}",
            str(last / SCALER),
            f"resume it on a GPU without bf16, or start a new run from its adapter: lora.start={last}",
        )


def rewind(run: Run, model: Any, log: Log) -> Path | None:
    """The last intact checkpoint. Unfinished checkpoints and records of later steps are removed.

    Damaged checkpoints are renamed, and a line names them.

    Args:
        run: the run that is resumed.
        model: its model with the adapter to train.
        log: gets the line.

    Returns:
        None if the run has no complete checkpoint, so that training starts at its first step.

    Raises:
        RunError: all complete checkpoints are damaged.
    """
    reasons: dict[Path, str] = {}
    last = None
    for folder in run.complete_checkpoints():
        if reason := damage(folder, model):
            reasons[folder] = reason
        else:
            last = folder
            break
    if reasons and last is None:
        raise none_intact(run, reasons)
    with disk_errors(run.checkpoints):
        for folder, reason in reasons.items():
            aside = folder.with_name(f"{DAMAGED}{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            log(f"resume  {folder.name} is damaged ({reason}); renamed to {aside.name}")
    remove_unfinished(run)
    if reasons and last:
        log(f"resume  training goes back to {last.name}")
    for name in ("metrics.jsonl", "rollouts.jsonl", "canaries.jsonl"):
        run.rewind(name, step_of(last))
    return last


def none_intact(run: Run, reasons: Mapping[Path, str]) -> RunError:
    """The error of a run whose checkpoints are all damaged.

    Args:
        run: the run.
        reasons: what is wrong with each of them.
    """
    return RunError(
        "no checkpoint of the run is intact",
        "\n".join(f"{folder}: {reason}" for folder, reason in reasons.items()),
        f"copy {run.checkpoints} again, or train again with the same recipe: --recipe {run.folder}/recipe.yaml",
    )


def remove_unfinished(run: Run) -> None:
    """Remove the checkpoints without complete.json."""
    for folder in run.checkpoints.glob("checkpoint-*"):
        if folder.is_dir() and not folder.is_symlink() and not (folder / COMPLETE).exists():
            shutil.rmtree(folder, ignore_errors=True)


def translate_errors(trainer: Any, checkpoint: Path) -> None:
    """Turn every failure of the Trainer to load a checkpoint into a RunError.

    Args:
        trainer: the trainer, before training.
        checkpoint: the checkpoint that it will load.
    """
    for name in _LOADERS:
        setattr(trainer, name, _translated(getattr(trainer, name), checkpoint))


@contextlib.contextmanager
def load_errors(checkpoint: Path) -> Iterator[None]:
    """Turn every failure to load a checkpoint into a RunError that names it."""
    try:
        yield
    except LowmedError:
        raise
    except Exception as error:  # of transformers, PEFT, torch, pickle
        raise RunError(
            f"the checkpoint cannot be loaded ({first_line(error)})",
            str(checkpoint),
            "move this folder away and repeat --resume; the run then goes on from the checkpoint before",
        ) from error


def _translated(load: Callable[..., Any], checkpoint: Path) -> Callable[..., Any]:
    @functools.wraps(load)
    def translated(*arguments: Any, **options: Any) -> Any:
        with load_errors(checkpoint):
            return load(*arguments, **options)

    return translated
