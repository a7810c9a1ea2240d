"""A recipe's model, ready to train or to answer: processor, base, adapter, and the checks that all three are right."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from lowmed import nano
from lowmed.data.image.policy import PixelPolicy, image_tokens
from lowmed.engine.device import Device
from lowmed.errors import RecipeError, RunError, SetupError
from lowmed.models import ModelFamily, family_of
from lowmed.recipe import LoraSpec, ModelSpec

if TYPE_CHECKING:
    from lowmed.engine.vision.cache import VisionCache  # imports transformers, which unsloth must come before


@dataclass
class Loaded:
    """A model with its processor, and who loaded it; `tower` encodes each image once, where it could be put in."""

    model: Any
    processor: Any
    policy: PixelPolicy
    machine: Device
    backend: str
    tower: "VisionCache | None" = None

    @property
    def family(self) -> ModelFamily:
        """The family of the model."""
        return family_of(self.model.config.model_type)

    @property
    def suppressed(self) -> list[int]:
        """Ids of the tokens that may never be sampled."""
        return list(self.processor.tokenizer.convert_tokens_to_ids(list(self.family.never_sampled)))

    @property
    def end_ids(self) -> list[int]:
        """Ids that end a completion."""
        ends = self.model.generation_config.eos_token_id
        return list(ends) if isinstance(ends, list) else [ends]


# Card -> the backend whose whole update was the faster one on it (benchmarks/update.py --against unsloth).
# Empty: not measured yet.
FASTER_BACKEND: dict[str, str] = {}


def choose_backend(spec: ModelSpec, machine: Device) -> tuple[str, str]:
    """`transformers` or `unsloth`, and why: the recipe's, else the one that was measured faster on this card.

    Raises:
        SetupError: unsloth was asked for where it cannot work.
    """
    chosen: str = spec.backend
    why = "the recipe says so"
    if chosen == "transformers":
        return chosen, why
    refusal = _unsloth_refusal(spec, machine)
    if chosen == "auto":
        if machine.device == "cpu":
            return "transformers", "the only one without a card"
        if machine.card not in FASTER_BACKEND:
            return "transformers", f"unsloth has not been measured against it on {machine.card}"
        chosen, why = FASTER_BACKEND[machine.card], f"measured faster on {machine.card}"
        if chosen == "unsloth" and refusal:
            return "transformers", refusal.what
    elif refusal:
        raise refusal
    if chosen == "unsloth" and "transformers" in sys.modules and "unsloth" not in sys.modules:  # chat, verify
        return "transformers", "it is too late to import unsloth, and the adapter answers the same without it"
    return chosen, why


def _unsloth_refusal(spec: ModelSpec, machine: Device) -> SetupError | None:
    """Why unsloth cannot load this model here, or None where it can; asked before it is imported."""
    where, instead = "model.backend", "use model.backend=transformers"
    if machine.device != "cuda":
        return SetupError("unsloth needs a CUDA card", where, instead)
    if spec.rollout == "vllm":
        where = f"{where} and model.rollout"
        return SetupError("unsloth refuses vLLM for Qwen2-VL", where, "use model.rollout=transformers")
    if spec.weights == "random":
        return SetupError("unsloth loads trained weights only", where, f"{instead} for a dry run")
    if importlib.util.find_spec("unsloth") is None:
        return SetupError("unsloth is not installed", where, "pip install 'lowmed[unsloth]', or use transformers")
    return None


def _module(name: str) -> ModuleType:
    """The backend's module, whose import is unsloth's own, before that of transformers.

    Raises:
        SetupError: unsloth is installed and does not work here.
    """
    try:
        return importlib.import_module(f"lowmed.engine.{name}_backend")
    except (ImportError, NotImplementedError, RuntimeError) as error:  # what unsloth says of machine and versions
        raise SetupError(
            f"the {name} backend does not start: {_first_line(error)}",
            "model.backend",
            "use model.backend=transformers, or the versions in constraints.txt",
        ) from error


def load_base(spec: ModelSpec, machine: Device) -> Loaded:
    """The base model and its processor, checked.

    Raises:
        SetupError: they cannot be loaded, or did not come out as the recipe says.
    """
    backend, _why = choose_backend(spec, machine)
    module = _module(backend)  # unsloth must be imported before transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = str(nano.folder()) if spec.name == "nano" else spec.name
    policy = PixelPolicy(spec.max_image_tokens)
    try:
        processor = load_processor(source, spec.revision, policy)
        model = module.load(source, spec, machine)
    except (OSError, ValueError, SafetensorError) as error:
        raise _not_loaded(spec, error) from error
    check_quantised(model, spec)
    from lowmed.engine.vision import cache

    return Loaded(model, processor, policy, machine, backend, cache.cache_vision_tower(model))


def with_trainable_adapter(loaded: Loaded, lora: LoraSpec, base_name: str) -> Loaded:
    """The base with an adapter to train: a new one, or the one that `lora.start` names.

    Args:
        loaded: the base.
        lora: shape of the adapter.
        base_name: what the adapter's own config calls its base.

    Raises:
        RecipeError: the adapter to start from does not fit the recipe.
        RunError: there is none.
    """
    module = _module(loaded.backend)
    if lora.start is None:
        loaded.model = module.add_adapter(loaded.model, lora)
    else:
        loaded.model = module.load_adapter(loaded.model, str(adapter_folder(lora.start)), trainable=True)
        rank = loaded.model.peft_config["default"].r
        if rank != lora.rank:
            raise RecipeError(
                f"the adapter to start from has rank {rank}, the recipe {lora.rank}",
                lora.start,
                f"set lora.rank={rank}",
            )
    loaded.model.peft_config["default"].base_model_name_or_path = base_name  # not where it lies on this machine
    # Left to itself PEFT asks the hub, at every save, whether the base's vocabulary has changed. It has not.
    loaded.model.save_pretrained = partial(loaded.model.save_pretrained, save_embedding_layers=False)
    check_trainable(loaded.model)
    return loaded


def with_adapter(loaded: Loaded, folder: Path) -> Loaded:
    """The base with a trained adapter, to answer with.

    Raises:
        RunError: there is no adapter in the folder.
    """
    loaded.model = _module(loaded.backend).load_adapter(loaded.model, str(adapter_folder(str(folder))), trainable=False)
    return loaded


def adapter_folder(path: str) -> Path:
    """The adapter that a run or adapter folder holds.

    Raises:
        RunError: it holds none.
    """
    for folder in (Path(path), Path(path) / "adapter"):
        if (folder / "adapter_config.json").is_file():
            return folder
    raise RunError("there is no adapter", path, "name a finished run, or a folder with adapter_config.json")


def load_processor(source: str, revision: str | None, policy: PixelPolicy) -> Any:
    """The processor with the pixel policy in force, padding on the left.

    Raises:
        SetupError: it does not keep to the policy.
    """
    from PIL import Image
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(
        source, revision=revision or "main", min_pixels=policy.min_pixels, max_pixels=policy.max_pixels
    )
    processor.tokenizer.padding_side = "left"  # right padding misaligns the image positions without a word
    wide, high = 2000, 1500
    grid = processor.image_processor(images=[Image.new("RGB", (wide, high))], return_tensors="pt")["image_grid_thw"]
    tokens = int(grid.prod()) // 4
    expected = image_tokens(wide, high, policy)
    if tokens != expected:
        raise SetupError(
            f"the processor makes {tokens} tokens of a {wide} x {high} image, the pixel policy {expected}",
            source,
            "this version of transformers ignores the image budget; install the pinned one",
        )
    from lowmed.engine.vision.processor_cache import process_once

    process_once(processor)
    return processor


def check_quantised(model: Any, spec: ModelSpec) -> None:
    """Every language layer is 4-bit and nothing else is, where the recipe says so.

    Raises:
        SetupError: a vision layer or the head is 4-bit, which ruins Qwen2-VL-2B, or a language layer is not.
    """
    family = family_of(model.config.model_type)
    four_bit = {name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
    wrong = {name for name in four_bit if family.in_vision_tower(name) or "lm_head" in name}
    if spec.load_in == "4bit":
        from torch import nn

        linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        wrong |= {name for name in linear - four_bit if family.in_language_model(name)}
    if wrong:
        raise SetupError(
            f"{len(wrong)} layers were quantised otherwise than the recipe says, first {min(wrong)}",
            spec.name,
            "use model.load_in=16bit, or the pinned versions of transformers and bitsandbytes",
        )


def check_trainable(model: Any) -> None:
    """Only the adapter trains, and no part of it sits on the vision tower.

    Raises:
        SetupError: anything else would be trained.
    """
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    family = family_of(model.config.model_type)
    stray = [name for name in names if "lora_" not in name or family.in_vision_tower(name)]
    if stray or not names:
        raise SetupError(
            f"{len(stray)} weights outside the language adapter would be trained"
            if stray
            else "nothing would be trained",
            stray[0] if stray else "lora",
            "use an adapter on the language model's layers alone",
        )


def _not_loaded(spec: ModelSpec, error: Exception) -> SetupError:
    first = _first_line(error)
    if Path(spec.name).is_dir():
        return SetupError(
            f"the model folder does not load: {first}", spec.name, "a complete Hugging Face folder is needed"
        )
    return SetupError(
        f"{spec.name} is no local folder and could not be had from the hub: {first}",
        "model.name",
        "download it elsewhere and give the folder: model.name=/path/to/Qwen2-VL-2B-Instruct",
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
