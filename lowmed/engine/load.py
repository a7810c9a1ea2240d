"""Load a recipe's model for training or inference: processor, base, adapter, and checks of all three."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lowmed import collector, processes
from lowmed.adapter.intake import read_adapter
from lowmed.data.image.policy import PixelPolicy
from lowmed.engine import patches
from lowmed.engine.adapter import add_trained_adapter, require_start
from lowmed.engine.device import Device, choose_rollout
from lowmed.engine.model_files import load_errors, read_files, source_of
from lowmed.engine.own_code import own_code_refused
from lowmed.engine.shard_support import divides
from lowmed.errors import SetupError, first_line
from lowmed.models import ModelFamily, family_of
from lowmed.plan.faster import measured_faster
from lowmed.recipe import LoraSpec, ModelSpec

if TYPE_CHECKING:
    from lowmed.engine.vision.cache import VisionCache  # imports transformers, and unsloth must be imported first


@dataclass
class Loaded:
    """A loaded model.

    Attributes:
        model: a transformers model, or a PeftModel around it.
        processor: its processor, which follows the pixel policy, or the tokenizer of a text-only model; pads on the
            left.
        policy: limits of image sizes.
        device: device of the model.
        backend: `transformers` or `unsloth`.
        uses_cuda_graphs: whether completions are sampled by CUDA graphs.
        vision_cache: encodes each image once; None where the family does not support it.
    """

    model: Any
    processor: Any
    policy: PixelPolicy
    device: Device
    backend: str
    uses_cuda_graphs: bool = False
    vision_cache: "VisionCache | None" = None

    @property
    def family(self) -> ModelFamily:
        """The family of the model."""
        return family_of(self.model.config.model_type)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self.processor if self.family.text_only else self.processor.tokenizer

    @property
    def suppressed(self) -> list[int]:
        """Ids of the tokens that are never sampled."""
        return list(self.tokenizer.convert_tokens_to_ids(list(self.family.never_sampled)))

    @property
    def end_ids(self) -> list[int]:
        """Ids of the tokens that end a completion."""
        ends = self.model.generation_config.eos_token_id
        return list(ends) if isinstance(ends, list) else [ends]


def choose_backend(spec: ModelSpec, device: Device) -> tuple[str, str]:
    """The backend, `transformers` or `unsloth`, and the reason.

    Args:
        spec: its `backend` decides unless it is `auto`.
        device: for `auto`, the backend that was measured faster on this GPU.

    Raises:
        SetupError: the recipe demands unsloth, which cannot load this model here.
    """
    backend: str = spec.backend
    reason = "set in the recipe"
    if backend == "transformers":
        return backend, reason
    error = _unsloth_error(spec, device)
    if backend == "auto":
        if device.type == "cpu":
            return "transformers", "the only one without a GPU"
        if processes.size() > 1:
            return "transformers", "unsloth runs in a single process"
        measured = measured_faster("backend", device.card)
        if measured is None:
            return "transformers", f"unsloth has not been measured against it on {device.card}"
        if measured == "transformers":
            return measured, f"unsloth was not measured at least 5 % faster on {device.card}"
        backend, reason = measured, f"measured faster on {device.card}"
        if error:
            return "transformers", error.what
    elif error:
        raise error
    if backend == "unsloth" and "transformers" in sys.modules and "unsloth" not in sys.modules:  # chat, verify
        return "transformers", "transformers was imported before unsloth; both give the same completions"
    return backend, reason


def _unsloth_error(spec: ModelSpec, device: Device) -> SetupError | None:
    """The error if unsloth cannot load this model here, or None; found without importing it."""
    where, fix = "model.backend", "use model.backend=transformers"
    if device.type != "cuda":
        return SetupError("unsloth needs a CUDA GPU", where, fix)
    if spec.rollout == "vllm":
        where = f"{where} and model.rollout"
        return SetupError("unsloth does not support vLLM for this model", where, "use model.rollout=transformers")
    if spec.weights == "random":
        return SetupError("unsloth loads trained weights only", where, f"{fix} for a dry run")
    if importlib.util.find_spec("unsloth") is None:
        return SetupError("unsloth is not installed", where, "pip install 'lowmed[unsloth]', or use transformers")
    return None


def _import_backend(name: str) -> ModuleType:
    """The module of a backend. The one of unsloth imports it before transformers.

    Raises:
        SetupError: unsloth is installed but does not import.
    """
    try:
        return importlib.import_module(f"lowmed.engine.{name}_backend")
    except (ImportError, NotImplementedError, RuntimeError) as error:  # unsloth's checks of GPU and versions
        raise SetupError(
            f"cannot import the {name} backend: {first_line(error)}",
            "model.backend",
            "use model.backend=transformers, or the versions in constraints.txt",
        ) from error


def load_base(spec: ModelSpec, device: Device) -> Loaded:
    """Load and check the base model and its processor.

    Args:
        spec: the model of a recipe.
        device: device of the model.

    Raises:
        SetupError: a file is missing or invalid, or the loaded model differs from the recipe.
    """
    backend, _reason = choose_backend(spec, device)
    module = _import_backend(backend)  # unsloth must be imported before transformers
    collector.collect_as_usual()
    processes.before_exchange(None)  # of a divided model before this one
    patches.silence_transformers()
    _config, processor, policy = read_files(spec)
    source = source_of(spec)
    with load_errors(spec), own_code_refused(source):
        model = module.load(source, spec, device)
    check_quantized(model, spec)
    rollout, _reason = choose_rollout(spec, device, backend)
    loaded = Loaded(model, processor, policy, device, backend, uses_cuda_graphs=rollout == "cuda_graphs")
    require_end_token(loaded, source)
    if not loaded.family.text_only:
        from lowmed.engine.vision import cache

        loaded.vision_cache = cache.cache_vision_tower(model)
    return loaded


def require_end_token(loaded: Loaded, source: str) -> None:
    """Check that generation stops at the token with which the tokenizer of a text-only model ends a turn.

    Raises:
        SetupError: it does not.
    """
    if loaded.family.text_only and loaded.tokenizer.eos_token_id not in loaded.end_ids:
        raise SetupError(
            f"the tokenizer ends a turn with {loaded.tokenizer.eos_token}, "
            "and the model's generation does not stop there",
            source,
            "correct `eos_token` in tokenizer_config.json or `eos_token_id` in generation_config.json",
        )


def with_trainable_adapter(loaded: Loaded, lora: LoraSpec, base_name: str) -> Loaded:
    """Add an adapter to train: a new one, or the one in `lora.start`.

    Args:
        loaded: the base.
        lora: shape of the adapter.
        base_name: the name of the base in adapter_config.json.

    Raises:
        RecipeError: the rank of the starting adapter differs from the recipe.
        RunError: there is no starting adapter, or lowmed cannot train it.
    """
    module = _import_backend(loaded.backend)
    start = require_start(lora)
    if start is None:
        loaded.model = module.add_adapter(loaded.model, lora)
    else:
        trained = partial(module.load_adapter, loaded.model, trainable=True)
        loaded.model = add_trained_adapter(loaded.model, start, trained)
    loaded.model.peft_config["default"].base_model_name_or_path = base_name  # not a path of this machine
    patches.skip_vocabulary_check(loaded.model)
    check_trainable(loaded.model)
    return loaded


def with_adapter(loaded: Loaded, folder: Path) -> Loaded:
    """Add a trained adapter for inference.

    Args:
        loaded: the base.
        folder: a run directory or an adapter folder.

    Raises:
        RunError: there is no adapter in the folder, or it cannot be used.
    """
    module = _import_backend(loaded.backend)
    frozen = partial(module.load_adapter, loaded.model, trainable=False)
    loaded.model = add_trained_adapter(loaded.model, read_adapter(str(folder)), frozen)
    return loaded


def sharded(loaded: Loaded, spec: ModelSpec) -> Loaded:
    """The last step of loading: divide the layers of the model among all processes if the recipe demands it."""
    if divides(spec):
        from lowmed.engine.sharding import shard_layers

        shard_layers(loaded.model, loaded.device.type)
    return loaded


def check_quantized(model: Any, spec: ModelSpec) -> None:
    """With a 4-bit recipe, check that exactly the language layers are 4-bit.

    Raises:
        SetupError: a vision layer or the head is 4-bit, which ruins small models, or a language layer is not.
    """
    family = family_of(model.config.model_type)
    four_bit = {name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
    wrong = {name for name in four_bit if not family.in_language_model(name)}
    if spec.load_in == "4bit":
        from torch import nn

        linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        wrong |= {name for name in linear - four_bit if family.in_language_model(name)}
    if wrong:
        raise SetupError(
            f"{len(wrong)} layers are not quantized as the recipe says, first {min(wrong)}",
            spec.name,
            "use model.load_in=16bit, or the pinned versions of transformers and bitsandbytes",
        )


def check_trainable(model: Any) -> None:
    """Check that only the adapter is trained, and that no part of it is on the vision tower.

    Raises:
        SetupError: nothing or something else would be trained.
    """
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    family = family_of(model.config.model_type)
    others = [name for name in names if "lora_" not in name or family.in_vision_tower(name)]
    if others or not names:
        raise SetupError(
            f"{len(others)} weights outside the language adapter would be trained"
            if others
            else "no weight would be trained",
            others[0] if others else "lora",
            "use an adapter on the language model's layers only",
        )
