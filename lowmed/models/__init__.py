"""The supported model families. To add one, define its record in a module of this package and list it in `FAMILIES`."""

from lowmed.errors import SetupError
from lowmed.models.architecture import PATCHES_PER_TOKEN, Architecture
from lowmed.models.family import ModelFamily
from lowmed.models.qwen_vl import QWEN2_5_VL, QWEN2_VL, QWEN3_VL

FAMILIES = {family.model_type: family for family in (QWEN2_VL, QWEN2_5_VL, QWEN3_VL)}

__all__ = ["FAMILIES", "PATCHES_PER_TOKEN", "Architecture", "ModelFamily", "family_of", "require_trainable"]


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


def require_trainable(model_type: str, where: str) -> None:
    """Check that models of a `model_type` can be loaded, not only planned for.

    Args:
        model_type: the value in config.json.
        where: the model named in the error.

    Raises:
        SetupError: the family is not supported, or only its memory and time are.
    """
    family = family_of(model_type, where)
    if not family.trainable:
        usable = ", ".join(known.model_type for known in FAMILIES.values() if known.trainable)
        raise SetupError(
            f"lowmed cannot load {family.title} models yet; it only estimates their memory and time",
            where,
            f"use a model of type {usable}",
        )
