"""The 16-bit base of an adapter: its folder, its revision, and its tensors."""

from pathlib import Path

from lowmed import nano
from lowmed.adapter.tensor_file import TensorLocation
from lowmed.architectures import read_architecture
from lowmed.errors import RunError, SetupError
from lowmed.models import FAMILIES, ModelFamily
from lowmed.recipe import ModelSpec
from lowmed.ship.target import require_base
from lowmed.ship.weights import FLOATS, tensor_locations

NEEDED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "LICENSE*", "NOTICE*"]


def find_base(model: ModelSpec) -> Path:
    """The folder of the base: a local folder, the embedded model, or the hub's cache. Downloads missing files.

    Raises:
        SetupError: the folder does not exist, or the download fails.
    """
    if model.name == "nano":
        return nano.folder()
    if Path(model.name).expanduser().is_dir():
        return Path(model.name).expanduser()
    require_base(model.name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model.name, revision=model.revision, allow_patterns=NEEDED))
    except Exception as error:  # the hub's client raises its own errors, httpx's, and OSError
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SetupError(
            f"the 16-bit base cannot be downloaded: {reason}",
            model.name,
            "download it on another machine and name it with --base FOLDER",
        ) from error


def base_family(folder: Path) -> ModelFamily:
    """The family of a base.

    Raises:
        SetupError: its config.json cannot be read, or the family is not supported.
    """
    return FAMILIES[read_architecture(ModelSpec(name=str(folder))).family]


def hub_commit(folder: Path) -> str | None:
    """The commit of a base in the hub's cache; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None


def check_revision(folder: Path, trained: str | None) -> None:
    """Refuse a base of another revision than the run was trained on, if both are known.

    Raises:
        RunError: the revisions differ.
    """
    current = hub_commit(folder)
    if trained and current and trained != current:
        raise RunError(
            f"the base has changed since training: revision {trained[:12]} then, {current[:12]} now",
            str(folder),
            f"set model.revision={trained} in the run's recipe.yaml, or name that revision's folder with --base",
        )


def base_tensors(folder: Path) -> dict[str, TensorLocation]:
    """The tensors of a 16-bit base.

    Raises:
        RunError: the weights are damaged, incomplete, or quantized.
    """
    tensors = tensor_locations(folder)
    quantized = [name for name, location in tensors.items() if location.dtype not in FLOATS]
    if quantized:
        raise RunError(
            f"the base is quantized ({quantized[0]} is {tensors[quantized[0]].dtype})",
            str(folder),
            "name the 16-bit base with --base: rounding to 4 bits again would undo most of the training",
        )
    return tensors
