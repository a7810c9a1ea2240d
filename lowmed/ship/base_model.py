"""The 16-bit base that an adapter is merged into: where it lies, and whether it is the one that was trained on."""

from pathlib import Path

from lowmed import nano
from lowmed.errors import RunError, SetupError
from lowmed.recipe import ModelSpec
from lowmed.ship import weights
from lowmed.ship.weights import TensorLocation

NEEDED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "LICENSE*", "NOTICE*"]


def find_base(model: ModelSpec) -> Path:
    """The folder of the base: as named, nano's own, or the hub's cache, into which it is downloaded where it is not.

    Raises:
        SetupError: it is nowhere to be had.
    """
    if model.name == "nano":
        return nano.folder()
    if Path(model.name).expanduser().is_dir():
        return Path(model.name).expanduser()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model.name, revision=model.revision, allow_patterns=NEEDED))
    except Exception as error:  # the hub's client raises its own, httpx's and the system's errors
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SetupError(
            f"the 16-bit base can not be had: {first}",
            model.name,
            "download it elsewhere and name it with --base FOLDER",
        ) from error


def commit(folder: Path) -> str | None:
    """The commit of a base in the hub's cache; a plain folder has none."""
    return folder.name if folder.parent.name == "snapshots" else None


def check_unchanged(folder: Path, trained: str | None) -> None:
    """Refuse a base of another revision than the run was trained on, where both are known.

    Raises:
        RunError: the revision has changed.
    """
    now = commit(folder)
    if trained and now and trained != now:
        raise RunError(
            f"the base has changed since training: revision {trained[:12]} then, {now[:12]} now",
            str(folder),
            f"set model.revision={trained} in the run's recipe.yaml, or name that revision's folder with --base",
        )


def tensors(folder: Path) -> dict[str, TensorLocation]:
    """The tensors of a 16-bit base.

    Raises:
        RunError: the weights are damaged, incomplete, or already quantised.
    """
    result = weights.tensor_locations(folder)
    packed = [name for name, place in result.items() if place.dtype not in weights.FLOATS]
    if packed:
        raise RunError(
            f"the base is quantised ({packed[0]} is {result[packed[0]].dtype})",
            str(folder),
            "name the 16-bit base with --base: a merge into 4-bit weights rounds the training away",
        )
    return result
