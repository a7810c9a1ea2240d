"""The families of models that lowmed knows. A new family is one record in a module of this package, named here."""

from lowmed.errors import SetupError
from lowmed.models.architecture import PATCHES_PER_TOKEN, Architecture
from lowmed.models.family import ModelFamily
from lowmed.models.qwen_vl import QWEN2_5_VL, QWEN2_VL, QWEN3_VL

FAMILIES = {family.model_type: family for family in (QWEN2_VL, QWEN2_5_VL, QWEN3_VL)}

__all__ = ["FAMILIES", "PATCHES_PER_TOKEN", "Architecture", "ModelFamily", "family_of"]


def family_of(model_type: str, where: str = "model.name") -> ModelFamily:
    """The family of a config's `model_type`.

    Raises:
        SetupError: lowmed does not know it.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    raise SetupError(
        f"models of type `{model_type}` are not supported", where, f"use a model of type {', '.join(FAMILIES)}"
    )
