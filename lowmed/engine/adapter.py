"""The folder of a trained adapter: where it is, how it is written, and whether training can start from it."""

import shutil
from pathlib import Path
from typing import Any

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


def lora_folder(path: str) -> str:
    """The adapter folder as of `adapter_folder`, if its adapter is a LoRA.

    PEFT imports a module that the config names (`megatron_core`), and loads a tokenizer for other kinds of adapters.

    Raises:
        RunError: there is no adapter, its config is damaged, or it is of another kind.
    """
    folder = adapter_folder(path)
    try:
        config = read_json(folder / "adapter_config.json")
        is_lora = config["peft_type"] == "LORA" and not config.get("megatron_config")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(
            f"the adapter's config is damaged ({type(error).__name__})", str(folder), "copy the adapter again"
        ) from error
    if not is_lora:
        raise RunError("the adapter is not a plain LoRA", str(folder), "train one with lowmed, or name another")
    return str(folder)


def write_adapter(model: Any, folder: Path) -> None:
    """Write the trained adapter of a model in PEFT's format. The folder appears only when it is complete."""
    temporary = _temporary(folder)
    model.save_pretrained(str(temporary), selected_adapters=["default"])  # without TRL's copy for a KL term
    (temporary / "README.md").unlink(missing_ok=True)  # PEFT's template without any content
    _replace(temporary, folder)


def copy_adapter(source: Path, folder: Path) -> None:
    """Copy the adapter from another folder or a checkpoint. The folder appears only when it is complete."""
    temporary = _temporary(folder)
    temporary.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(source / name, temporary / name)
    _replace(temporary, folder)


def _temporary(folder: Path) -> Path:
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(exist_ok=True)
    return temporary


def _replace(temporary: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # of a process that ended before it recorded what it wrote
    temporary.replace(folder)


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
