"""The files of a model without its weights: its config, and its processor or tokenizer."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from lowmed import nano
from lowmed.architectures import from_config
from lowmed.data.image.policy import PixelPolicy, policy_of
from lowmed.engine.own_code import own_code_refused
from lowmed.engine.processor import load_processor, load_tokenizer
from lowmed.errors import SetupError, first_line
from lowmed.models import family_of, require_packages
from lowmed.recipe import ModelSpec

# What transformers raises on a config or a weight file with values of another type or shape.
DAMAGED = (AssertionError, AttributeError, IndexError, KeyError, TypeError, SafetensorError, StrictDataclassError)


def source_of(spec: ModelSpec) -> str:
    """The folder or the hub id of a model."""
    return str(nano.folder()) if spec.name == "nano" else spec.name


def read_files(spec: ModelSpec, *, local_only: bool = False) -> tuple[Any, Any, PixelPolicy]:
    """A model's config, its processor or tokenizer, and its pixel policy, without weights.

    Args:
        spec: the model of a recipe.
        local_only: download nothing.

    Raises:
        SetupError: a file is missing or invalid, or the family is not supported.
    """
    from transformers import AutoConfig

    source = source_of(spec)
    with load_errors(spec), own_code_refused(source):
        config = AutoConfig.from_pretrained(
            source, revision=spec.revision or "main", local_files_only=local_only, trust_remote_code=False
        )
        family = family_of(config.model_type, spec.name)
        require_packages(family, spec.name)
        policy = policy_of(spec, from_config(config.to_dict(), spec.name))
        if family.text_only:
            return config, load_tokenizer(source, spec.revision, local_only=local_only), policy
        return config, load_processor(source, spec.revision, policy, family, local_only=local_only), policy


@contextmanager
def load_errors(spec: ModelSpec) -> Iterator[None]:
    """Name the model if transformers cannot load a file of it.

    Raises:
        SetupError: it cannot.
    """
    try:
        yield
    except (OSError, ValueError, *DAMAGED) as error:
        raise _load_error(spec, error) from error


def _load_error(spec: ModelSpec, error: Exception) -> SetupError:
    first = first_line(error)
    if Path(spec.name).is_dir():
        return SetupError(f"cannot load the model folder: {first}", spec.name, "use a complete Hugging Face folder")
    return SetupError(
        f"{spec.name} is not a local folder and cannot be downloaded from the hub: {first}",
        "model.name",
        f"download it elsewhere and give the folder: model.name=/path/to/{Path(spec.name).name}",
    )
