"""Weights that lie next to an adapter: what a trainer tuned in full and keeps in a file of its own."""

import zipfile
from pathlib import Path
from typing import NamedTuple

from lowmed.adapter.tensor_file import read_header
from lowmed.errors import RunError

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"
_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npz", ".h5", ".msgpack"})
# Files of a checkpoint without weights of the model, by the start of their name. A value head (PPO) is not used to
# answer, and an old file of the same adapter lies next to the new one in some repositories.
_STATE = (
    WEIGHTS_FILE, PICKLE_FILE, "optimizer", "scheduler", "scaler", "rng_state", "random_states", "training_args",
    "trainer_state", "value_head", "tokenizer", "ema_adapter",
)  # fmt: skip

_EMPTY_PICKLE_BYTES = 256  # an empty dict or OrderedDict has less than half


class ExtraFile(NamedTuple):
    """A file of weights next to an adapter, and its size in bytes."""

    name: str
    size: int


def extra_weights(folder: Path) -> list[ExtraFile]:
    """The files of an adapter's folder that hold weights of their own. No pickle is opened.

    Raises:
        RunError: a safetensors file is damaged.
    """
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() in _SUFFIXES]
    return [
        ExtraFile(path.name, path.stat().st_size)
        for path in files
        if not path.name.startswith(_STATE) and not _holds_nothing(path)
    ]


def require_no_extra_weights(folder: Path) -> None:
    """Refuse an adapter with more weights next to it: without them the model is not the one that was trained.

    Raises:
        RunError: there are such weights.
    """
    extra = extra_weights(folder)
    if extra:
        names = ", ".join(f"{file.name} ({file.size:,} bytes)" for file in extra[:5])
        more = f" and {len(extra) - 5} more" if len(extra) > 5 else ""
        raise RunError(
            f"weights that were trained in full lie next to the adapter and are not merged or loaded: {names}{more}",
            str(folder),
            "merge adapter and these weights with the program that trained them, and name the merged model folder; "
            "or move the files away if they hold nothing that was trained",
        )


def pickle_error(folder: Path) -> RunError:
    """The error for an adapter whose only weights are a pickle."""
    convert = (
        'python -c "import torch, safetensors.torch as s; s.save_file({k: v.clone().contiguous() for k, v in '
        f"torch.load('{PICKLE_FILE}', map_location='cpu', weights_only=True).items()}}, '{WEIGHTS_FILE}', "
        "{'format': 'pt'})\""
    )
    return RunError(
        f"the adapter's weights are a pickle ({PICKLE_FILE}), which can run code when it is read; lowmed never reads "
        "one",
        str(folder / PICKLE_FILE),
        f"convert it in its folder, on a machine that may trust it: {convert}",
    )


def _holds_nothing(path: Path) -> bool:
    """Whether a file holds no tensor: some trainers write an empty one when nothing was tuned in full."""
    if path.suffix.lower() == ".safetensors":
        return not read_header(path)[0]
    try:
        with zipfile.ZipFile(path) as archive:  # torch.save stores every tensor as a member of the folder `data`
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False
    pickles = [entry.file_size for entry in entries if entry.filename.endswith("/data.pkl")]
    stored = any(entry.file_size for entry in entries if "/data/" in entry.filename)
    return bool(pickles) and sum(pickles) <= _EMPTY_PICKLE_BYTES and not stored
