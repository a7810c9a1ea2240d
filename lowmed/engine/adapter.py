"""The adapter of a model: how it is loaded and written, and whether training can start from it."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lowmed.adapter.copy import write_plain_copy
from lowmed.adapter.fit import language_layers, require_complete
from lowmed.adapter.intake import Adapter, read_adapter
from lowmed.architectures import read_architecture
from lowmed.errors import RecipeError, RunError, SetupError
from lowmed.models import FAMILIES
from lowmed.recipe import LoraSpec, ModelSpec


@contextlib.contextmanager
def for_peft(adapter: Adapter) -> Iterator[str]:
    """A temporary folder with the adapter as PEFT loads it today; see `adapter.copy`.

    Raises:
        SetupError: the disk does not allow it.
    """
    with tempfile.TemporaryDirectory(prefix="lowmed-adapter-") as folder:
        write_plain_copy(adapter, Path(folder))
        yield folder


def add_trained_adapter(model: Any, adapter: Adapter, load_adapter: Callable[[str], Any]) -> Any:
    """The model with an adapter, after PEFT has loaded every layer of it.

    PEFT ignores layers that it does not find, and leaves others as they were initialized, with a warning at most.

    Args:
        model: the base.
        adapter: the adapter.
        load_adapter: loads it from a folder with the backend's PEFT.

    Raises:
        RunError: the adapter belongs to another base, is incomplete, or holds NaN or infinity.
    """
    if family := FAMILIES.get(model.config.model_type):
        adapter = adapter.named_for(family)
    require_complete(adapter, base_shapes(model))
    with for_peft(adapter) as folder:
        try:
            adapted = load_adapter(folder)
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise RunError(
                f"PEFT cannot load the adapter: {first}", str(adapter.folder), "check it: lowmed verify ADAPTER"
            ) from error
    inner = adapted.get_base_model()
    loaded = {name for name, module in inner.named_modules() if hasattr(module, "lora_A")}
    if loaded != adapter.layers.keys():
        different = sorted(loaded ^ adapter.layers.keys())
        raise RunError(
            f"PEFT did not load the adapter as it is stored: {len(different)} layers differ, first {different[0]}",
            str(adapter.folder),
            "use the version of peft in constraints.txt",
        )
    for name, weight in inner.named_parameters():
        if "lora_" in name and not bool(weight.isfinite().all()):
            raise RunError(f"the adapter holds NaN or infinity: {name}", str(adapter.folder), "use another checkpoint")
    return adapted


def base_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Layer of a loaded base -> shape of its weight, also where that is stored in 4 bits."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules():
        if hasattr(module, "in_features") and hasattr(module, "out_features"):
            shapes[name] = (module.out_features, module.in_features)
        elif hasattr(module, "out_channels"):  # a convolution
            shapes[name] = tuple(module.weight.shape)
    return shapes


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


def require_start(lora: LoraSpec, model: ModelSpec | None = None) -> Adapter | None:
    """Check the adapter that training starts from, without loading it.

    Args:
        lora: the adapter of the recipe.
        model: its base. Layers and shapes are compared if it is named, and its architecture known without a download.

    Returns:
        The adapter; None if training starts from a new one.

    Raises:
        RecipeError: its rank differs from the recipe's.
        RunError: there is no adapter, it is damaged, or lowmed cannot train it.
    """
    if lora.start is None:
        return None
    adapter = read_adapter(lora.start)
    others = [name for name in adapter.layers if not any(one.in_language_model(name) for one in FAMILIES.values())]
    if others or adapter.config.use_dora:
        problem = f"is also on {min(others)}" if others else "is a DoRA"
        raise RunError(
            f"the starting adapter {problem}; lowmed trains plain LoRA on the layers of the language model",
            str(adapter.folder),
            "merge it into its base, and name the merged folder as model.name",
        )
    if adapter.ranks != [lora.rank]:
        ranks = " and ".join(map(str, adapter.ranks))
        fix = f"set lora.rank={ranks}" if len(adapter.ranks) == 1 else "name an adapter with one rank"
        raise RecipeError(f"the starting adapter has rank {ranks}, the recipe {lora.rank}", lora.start, fix)
    if model:
        with contextlib.suppress(SetupError):  # the model of an unknown hub id is checked when it is loaded
            architecture = read_architecture(model)
            adapter = adapter.named_for(FAMILIES[architecture.family])
            require_complete(adapter, language_layers(architecture))
    return adapter
