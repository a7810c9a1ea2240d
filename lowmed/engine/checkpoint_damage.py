"""What is wrong with a checkpoint: by the digests of its files, and by what they will be loaded into."""

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lowmed.files import read_json
from lowmed.run import COMPLETE

# Without one of them a resumed run would differ, or not start.
NEEDED = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
FOREIGN = ("model.safetensors", "pytorch_model.bin", "config.json", "adapter_model.bin", "optimizer.bin")
_STATE_NUMBERS = (
    "epoch", "max_steps", "num_train_epochs", "total_flos", "num_input_tokens_seen", "logging_steps", "eval_steps",
    "save_steps",
)  # fmt: skip


def step_of(folder: Path | None) -> int:
    """The step that the name of a checkpoint or of a best adapter ends with; 0 without one."""
    return int(folder.name.rpartition("-")[2]) if folder else 0


def damage(folder: Path, model: Any) -> str | None:
    """What is wrong with a checkpoint, or None.

    The files are compared with their digests in complete.json. Other versions of lowmed wrote none, and somebody could
    have changed both, so the states are also compared with what they will be loaded into.

    Args:
        folder: the checkpoint.
        model: the model with the adapter to train.
    """
    if foreign := _foreign(folder, model):
        return f"{foreign} does not belong to it"
    if changed := change(folder):
        return changed
    for name, check in _CHECKS.items():
        if name in NEEDED or (folder / name).exists():
            try:
                reason = check(folder / name, model)
            except Exception as error:  # of torch, pickle, safetensors, json: whatever a damaged file makes them raise
                reason = first_line(error)
            if reason:
                return f"{name}: {reason}"
    return None


def change(folder: Path) -> str | None:
    """What differs from the digests in the complete.json of a checkpoint, or None; no model and no torch are needed."""
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        return f"{missing[0]} is missing"
    try:
        complete = read_json(folder / COMPLETE)
        files = complete.get("files")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return f"{COMPLETE}: {first_line(error)}"
    if files is None:
        return None
    if not isinstance(files, Mapping):
        return f"{COMPLETE}: files is not an object"
    for name in sorted(file_names(folder) | set(files)):
        if name not in files:
            return f"{name} does not belong to it"
        if not (folder / name).is_file():
            return f"{name} is missing"
        if digest(folder / name) != files[name]:
            return f"{name} has changed"
    return None


def file_names(folder: Path) -> set[str]:
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


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def first_line(error: Exception) -> str:
    """The kind of an exception and the first line of its text."""
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
