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
MOST = 2**53  # a larger integer may be no float
FOREIGN = ("model.safetensors", "pytorch_model.bin", "config.json", "adapter_model.bin", "optimizer.bin")
_STATE_NUMBERS = (
    "epoch", "max_steps", "num_train_epochs", "total_flos", "num_input_tokens_seen", "logging_steps", "eval_steps",
    "save_steps",
)  # fmt: skip
_SCHEDULER_FLAGS = ("_is_initial", "_get_lr_called_within_step", "verbose")


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


def _trained_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of the trained weights by the names that PEFT stores, in the order of the optimizer."""
    trained = ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
    return {name.replace(".default.", "."): tuple(weight.shape) for name, weight in trained}


def load_torch(file: Path) -> Any:
    """The content of a file of torch: tensors and plain values only, never code.

    Raises:
        ValueError: it is larger in memory than on the disk.
    """
    import zipfile

    import torch
    from transformers.trainer_pt_utils import safe_globals

    with zipfile.ZipFile(file) as archive:
        if any(member.file_size > member.compress_size for member in archive.infolist()):
            raise ValueError("it is compressed")
    with safe_globals():  # numpy's generator state
        return torch.load(file, map_location="cpu", weights_only=True)


def _check_weights(file: Path, model: Any) -> str | None:
    from safetensors import safe_open

    with safe_open(str(file), framework="pt") as opened:
        names = {name.replace(".default.", "."): name for name in opened.keys()}  # noqa: SIM118
        shapes = {name: tuple(opened.get_slice(stored).get_shape()) for name, stored in names.items()}
    return None if shapes == _trained_shapes(model) else "its weights are not those of the adapter"


def _check_optimizer(file: Path, model: Any) -> str | None:
    import torch

    state, shapes = load_torch(file), list(_trained_shapes(model).values())
    if set(state) != {"state", "param_groups"}:
        return "it is not the state of an optimizer"
    for group in state["param_groups"]:
        if not {"lr", "betas", "eps", "weight_decay"} <= set(group) or not all(map(_is_setting, group.items())):
            return "settings are missing, or others"
    if [number for group in state["param_groups"] for number in group["params"]] != list(range(len(shapes))):
        return "it is of another adapter"
    for number, values in state["state"].items():  # a weight that had no gradient yet has none
        first, second, step = values["exp_avg"], values["exp_avg_sq"], values["step"]
        tensors = all(isinstance(value, torch.Tensor) and value.is_floating_point() for value in values.values())
        if not tensors or {*values} != {"exp_avg", "exp_avg_sq", "step"} or step.numel() != 1 or step.dim():
            return "its values are not those of AdamW"
        if type(number) is not int or not tuple(first.shape) == tuple(second.shape) == shapes[number]:
            return "its shapes are not those of the adapter"
    return None


def _is_setting(item: tuple[Any, Any]) -> bool:
    """Whether a setting of an optimizer is one that AdamW of torch has in training. Its other settings are numbers."""
    name, value = item
    if name == "params":
        return isinstance(value, list)
    if name == "betas":
        return len(value) == 2 and all(type(one) in (int, float) and 0 <= one < 1 for one in value)
    if name == "decoupled_weight_decay":
        return value is True
    if name in ("amsgrad", "maximize", "capturable", "differentiable"):
        return value is False
    if name in ("foreach", "fused"):
        return value is None or isinstance(value, bool)
    return isinstance(name, str) and type(value) in (int, float) and 0 <= value < MOST


def _check_scheduler(file: Path, _model: Any) -> str | None:
    state = load_torch(file)
    required = {"base_lrs", "last_epoch", "_step_count", "_last_lr", "lr_lambdas"}
    if not required <= set(state) <= {*required, *_SCHEDULER_FLAGS}:
        return "it is not the state of a scheduler"
    if not all(function in (None, {}) for function in state["lr_lambdas"]):
        return "it is not the state of a scheduler"
    numbers = [state["last_epoch"], state["_step_count"], *state["base_lrs"], *state["_last_lr"]]
    if not all(type(number) in (int, float) and 0 <= number < MOST for number in numbers):
        return "a number is missing"
    groups = len(load_torch(file.with_name("optimizer.pt"))["param_groups"])
    if any(len(state[name]) != groups for name in ("base_lrs", "_last_lr", "lr_lambdas")):
        return "it is of another optimizer"
    return None if state["last_epoch"] == step_of(file.parent) else "it is of another step"


def _check_generators(file: Path, _model: Any) -> str | None:
    import random

    import numpy as np
    import torch

    state = load_torch(file)
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
