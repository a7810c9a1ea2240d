"""The supported model families. To add one, define its record in a module of this package and list it in `FAMILIES`."""

import importlib.util
from collections.abc import Iterable

from lowmed.errors import DataError, SetupError
from lowmed.models.architecture import Architecture
from lowmed.models.family import ModelFamily
from lowmed.models.fixed_size import GEMMA3, INTERNVL, SMOLVLM
from lowmed.models.qwen_vl import QWEN2_5_VL, QWEN2_VL, QWEN3_VL
from lowmed.models.text import LLAMA, QWEN2, QWEN3
from lowmed.sample import Sample

FAMILIES = {
    family.model_type: family
    for family in (QWEN2_VL, QWEN2_5_VL, QWEN3_VL, GEMMA3, INTERNVL, SMOLVLM, LLAMA, QWEN2, QWEN3)
}

__all__ = [
    "FAMILIES",
    "Architecture",
    "ModelFamily",
    "family_of",
    "require_packages",
    "require_readable",
]


def family_of(model_type: str, where: str = "model.name") -> ModelFamily:
    """The model family of a `model_type`.

    Args:
        model_type: the value in config.json.
        where: the setting named in the error.

    Raises:
        SetupError: the family is not supported.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    raise SetupError(
        f"models of type `{model_type}` are not supported", where, f"use a model of type {', '.join(FAMILIES)}"
    )


def require_packages(family: ModelFamily, where: str) -> None:
    """Check that the packages that a family's processor needs are installed.

    Args:
        family: the model's family.
        where: the model named in the error.

    Raises:
        SetupError: one is missing.
    """
    for name in family.processor_packages:
        if importlib.util.find_spec(name) is None:
            raise SetupError(
                f"the processor of {family.title} needs the package {name}, which is not installed",
                where,
                f"pip install {name}",
            )


def require_readable(family: ModelFamily, samples: Iterable[Sample], where: str) -> None:
    """Check that a text-only model gets no question about an image.

    Args:
        family: the model's family.
        samples: its questions.
        where: the data or the model named in the error.

    Raises:
        DataError: a question has an image.
    """
    if not family.text_only:
        return
    if with_images := [sample.id for sample in samples if sample.images]:
        raise DataError(
            f"{len(with_images):,} questions have images, first {with_images[0]}, and {family.title} reads text only",
            where,
            "use a vision-language model, or prepare the table without its images: lowmed data prepare --map image=",
        )
