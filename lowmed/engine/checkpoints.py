"""Checkpoints: their digests, which one a run resumes from, and errors where one cannot be loaded.

The Trainer ignores a missing optimizer or generator, and fails on a damaged one with errors of torch and pickle.
"""

import contextlib
import functools
import hashlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lowmed.errors import LowmedError, RunError
from lowmed.files import disk_errors, read_json, write_json
from lowmed.progress import Log
from lowmed.run import COMPLETE, Run

# Without one of them a resumed run would differ, or not start.
NEEDED = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
SCALER = "scaler.pt"
FOREIGN = ("model.safetensors", "pytorch_model.bin", "config.json", "adapter_model.bin", "optimizer.bin")
DAMAGED = "damaged-"  # a damaged checkpoint gets this prefix; nothing reads it again
_STATE_NUMBERS = (
    "epoch", "max_steps", "num_train_epochs", "total_flos", "num_input_tokens_seen", "logging_steps", "eval_steps",
    "save_steps",
)  # fmt: skip
_LOADERS = ("_load_from_checkpoint", "_load_optimizer_and_scheduler", "_load_scaler", "_load_rng_state")


def mark_complete(folder: Path, step: int) -> None:
    """Write complete.json with the digest of every file. It is written last: a checkpoint without it is ignored."""
    with disk_errors(folder):
        files = {name: _digest(folder / name) for name in sorted(_names(folder))}
    write_json(folder / COMPLETE, {"step": step, "files": files})


def step_of(folder: Path | None) -> int:
    """The step that the name of a checkpoint or of a best adapter ends with; 0 without one."""
    return int(folder.name.rpartition("-")[2]) if folder else 0


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
        raise RunError(
            "no checkpoint of the run is intact",
            "\n".join(f"{folder}: {reason}" for folder, reason in reasons.items()),
            f"copy {run.checkpoints} again, or train again with the same recipe: --recipe {run.folder}/recipe.yaml",
        )
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


def remove_unfinished(run: Run) -> None:
    """Remove the checkpoints without complete.json."""
    for folder in run.checkpoints.glob("checkpoint-*"):
        if folder.is_dir() and not folder.is_symlink() and not (folder / COMPLETE).exists():
            shutil.rmtree(folder, ignore_errors=True)


def damage(folder: Path, model: Any) -> str | None:
    """What is wrong with a checkpoint, or None.

    The files are compared with their digests in complete.json. Other versions of lowmed wrote none, and somebody could
    have changed both, so the states are also compared with what they will be loaded into.

    Args:
        folder: the checkpoint.
        model: the model with the adapter to train.
    """
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        return f"{missing[0]} is missing"
    if foreign := _foreign(folder, model):
        return f"{foreign} does not belong to it"
    try:
        complete = read_json(folder / COMPLETE)
        files = complete.get("files")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return f"{COMPLETE}: {_first_line(error)}"
    if files is not None:
        if not isinstance(files, Mapping):
            return f"{COMPLETE}: files is not an object"
        for name in sorted(_names(folder) | set(files)):
            if name not in files:
                return f"{name} does not belong to it"
            if not (folder / name).is_file():
                return f"{name} is missing"
            if _digest(folder / name) != files[name]:
                return f"{name} has changed"
    for name, check in _CHECKS.items():
        if name in NEEDED or (folder / name).exists():
            try:
                reason = check(folder / name, model)
            except Exception as error:  # of torch, pickle, safetensors, json: whatever a damaged file makes them raise
                reason = _first_line(error)
            if reason:
                return f"{name}: {reason}"
    return None


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
            f"the checkpoint cannot be loaded ({_first_line(error)})",
            str(checkpoint),
            "move this folder away and repeat --resume; the run then goes on from the checkpoint before",
        ) from error


def _translated(load: Callable[..., Any], checkpoint: Path) -> Callable[..., Any]:
    @functools.wraps(load)
    def translated(*arguments: Any, **options: Any) -> Any:
        with load_errors(checkpoint):
            return load(*arguments, **options)

    return translated


def _names(folder: Path) -> set[str]:
    """Names of the files of a checkpoint. TRL's copy of the starting adapter is in a subfolder."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return files - {COMPLETE}


def _foreign(folder: Path, model: Any) -> str | None:
    """A file or folder that the Trainer would load besides the adapter, or None."""
    adapters = set(model.peft_config)
    for path in sorted(folder.iterdir()):
        if path.name in FOREIGN or (path.is_dir() and path.name not in adapters):
            return path.name
    return None


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "")[:200]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _trained_shapes(model: Any) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.parameters() if weight.requires_grad]


def _load(file: Path) -> Any:
    """The content of a file of torch: tensors and plain values only, never code."""
    import torch
    from transformers.trainer_pt_utils import safe_globals

    with safe_globals():  # numpy's generator state
        return torch.load(file, map_location="cpu", weights_only=True)


def _check_weights(file: Path, model: Any) -> str | None:
    from safetensors import safe_open

    with safe_open(str(file), framework="pt") as opened:
        shapes = sorted(tuple(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
    return None if shapes == sorted(_trained_shapes(model)) else "its shapes are not those of the adapter"


def _check_optimizer(file: Path, model: Any) -> str | None:
    state = _load(file)
    left = _trained_shapes(model)
    if sum(len(group["params"]) for group in state["param_groups"]) != len(left):
        return "it is of another adapter"
    if not all({"lr", "betas", "eps", "weight_decay"} <= set(group) for group in state["param_groups"]):
        return "settings are missing"
    for values in state["state"].values():  # a weight that had no gradient yet has none
        shapes = {tuple(values[name].shape) for name in ("exp_avg", "exp_avg_sq")}
        values["step"].item()
        if len(shapes) != 1 or not shapes <= set(left):
            return "its shapes are not those of the adapter"
        left.remove(shapes.pop())
    return None


def _check_scheduler(file: Path, _model: Any) -> str | None:
    state = _load(file)
    numbers = [state["last_epoch"], state["_step_count"], *state["base_lrs"], *state["_last_lr"]]
    is_plain = all(isinstance(number, int | float) for number in numbers)
    return None if is_plain and state["last_epoch"] == step_of(file.parent) else "it is of another step"


def _check_generators(file: Path, _model: Any) -> str | None:
    import random

    import numpy as np
    import torch

    state = _load(file)
    random.Random().setstate(state["python"])
    np.random.RandomState().set_state(state["numpy"])
    torch.Generator().set_state(state["cpu"])
    return None


def check_state(file: Path, _model: Any = None) -> str | None:
    """What is wrong with a trainer_state.json, or None; any exception says that it is damaged, too."""
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(file))
    if state.global_step != step_of(file.parent):
        return "it is of another step"
    numbers = [state.global_step, *(getattr(state, name) for name in _STATE_NUMBERS)]
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        return "a number is missing"
    if state.train_batch_size is not None and (type(state.train_batch_size) is not int or state.train_batch_size < 1):
        return "its batch size is not a number"
    is_log = isinstance(state.log_history, list) and all(isinstance(row, dict) for row in state.log_history)
    return None if is_log else "it has no log"


_CHECKS: dict[str, Callable[[Path, Any], str | None]] = {
    "adapter_model.safetensors": _check_weights,
    "ema_adapter.safetensors": _check_weights,
    "optimizer.pt": _check_optimizer,
    "scheduler.pt": _check_scheduler,
    "rng_state.pth": _check_generators,
    "trainer_state.json": check_state,
}
