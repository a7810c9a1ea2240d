"""The folder of a trained adapter: where it is, and whether training can start from it."""

from pathlib import Path

from lowmed.errors import RecipeError, RunError
from lowmed.files import read_json
from lowmed.recipe import LoraSpec


def adapter_folder(path: str) -> Path:
    """The adapter folder in a run directory, or `path` itself if it is one.

    Raises:
        RunError: there is no adapter.
    """
    for folder in (Path(path), Path(path) / "adapter"):
        if (folder / "adapter_config.json").is_file():
            return folder
    raise RunError("there is no adapter", path, "name a finished run, or a folder with adapter_config.json")


def require_start(lora: LoraSpec) -> None:
    """Check the adapter that training starts from, if there is one, without loading it.

    Raises:
        RecipeError: its rank differs from the recipe's.
        RunError: there is no adapter, or its adapter_config.json is damaged.
    """
    if lora.start is None:
        return
    file = adapter_folder(lora.start) / "adapter_config.json"
    try:
        rank = read_json(file)["r"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"the starting adapter is damaged ({type(error).__name__}: {error})", str(file), "name another adapter"
        ) from error
    if rank != lora.rank:
        raise RecipeError(
            f"the starting adapter has rank {rank}, the recipe {lora.rank}", lora.start, f"set lora.rank={rank}"
        )
