"""Read one training question with a model's files, and with one layer of its architecture, before anything is trained.

A folder may mix files of several models: its processor then writes tokens that the model does not have, or patches of
another size. `check` and training find that here, with the same words, and without the weights.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lowmed.engine import chat, patches
from lowmed.engine.device import Device
from lowmed.engine.generate import encode
from lowmed.engine.load import Loaded, require_end_token
from lowmed.engine.model_files import load_errors, read_files, source_of
from lowmed.engine.transformers_backend import auto_class
from lowmed.errors import SetupError, first_line
from lowmed.models import family_of
from lowmed.recipe import Recipe
from lowmed.sample import Sample

# Depths of the parts of a model, and lists with an entry for each layer or for some of them.
_DEPTHS = ("num_hidden_layers", "depth")
_FIRST_ONLY = ("deepstack_visual_indexes", "fullatt_block_indexes")


def require_readable_question(
    recipe: Recipe, samples: tuple[Sample, ...], open_image: Callable[[str], Image.Image], *, local_only: bool
) -> bool:
    """Check that a model can read one training question, with images if any question has some.

    Args:
        recipe: the recipe.
        samples: its training questions.
        open_image: opens the samples' image references.
        local_only: download nothing.

    Returns:
        False if files of the model are not on this machine and nothing was checked.

    Raises:
        DataError: its image cannot be opened, or is missing in the model's input.
        RecipeError: chat template and prompt family do not fit.
        SetupError: a file is missing or invalid, or files of several models are mixed.
    """
    spec = recipe.model
    if not samples:
        return True
    patches.silence_transformers()
    try:
        config, processor, policy = read_files(spec, local_only=local_only)
    except SetupError as error:
        # Of a hub id an OSError means that the cache lacks a file. A file that is there and wrong is an error.
        if local_only and isinstance(error.__cause__, OSError) and not Path(spec.name).expanduser().is_dir():
            return False
        raise
    family = recipe.prompts.training
    chat.require_reasoning_prompts(processor, family)
    with load_errors(spec):
        model = _one_layer(config, source_of(spec), spec.revision, local_only)
    loaded = Loaded(model, processor, policy, Device("cpu", "CPU", 0.0, "bf16"), "transformers")
    require_end_token(loaded, source_of(spec))
    sample = max(samples, key=lambda one: len(one.images))
    inputs = encode(loaded, [sample], family, open_image)
    try:
        with torch.no_grad():
            model(**inputs, logits_to_keep=1)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:  # of the layers of transformers
        raise SetupError(
            f"the model cannot read what its processor writes: {first_line(error)[:200]}",
            f"{spec.name}, question {sample.id}",
            "use a folder whose config.json, tokenizer and processor belong to one model",
        ) from error
    return True


def _one_layer(config: Any, source: str, revision: str | None, local_only: bool) -> Any:
    """The model of a config with one layer in each part. Its weights are whatever the memory holds."""
    from transformers import GenerationConfig
    from transformers.initialization import no_init_weights

    shallow = type(config).from_dict(_shallow(config.to_dict()))
    with no_init_weights():
        model = auto_class(family_of(config.model_type)).from_config(
            shallow, dtype=torch.bfloat16, trust_remote_code=False
        )
    with suppress(OSError):  # a model may have no such file; it then keeps the end token of its config
        model.generation_config = GenerationConfig.from_pretrained(
            source, revision=revision or "main", local_files_only=local_only
        )
    return model.eval()


def _shallow(config: dict[str, Any]) -> dict[str, Any]:
    """A config with one layer in each part."""
    result: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            result[name] = _shallow(value)
        elif name in _DEPTHS and value:
            result[name] = 1
        elif name in _FIRST_ONLY and value:
            result[name] = [0]
        else:
            result[name] = value[-1:] if name == "layer_types" and value else value
    return result
