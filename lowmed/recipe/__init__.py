"""The recipe of a run: one frozen record of all settings.

The names are loaded on first use. Reading recipe files does not need the schema, and building it takes 0.1 s.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowmed.methods import GrpoSpec, MethodSpec, RewardSpec, SftSpec
    from lowmed.recipe.bridge import BridgeSpec
    from lowmed.recipe.data import CustomFamily, DataSpec, PromptSpec
    from lowmed.recipe.model import LoraSpec, ModelSpec
    from lowmed.recipe.schema import EvalSpec, JudgeSpec, Recipe
    from lowmed.schema import Section

__all__ = [
    "BridgeSpec",
    "CustomFamily",
    "DataSpec",
    "EvalSpec",
    "GrpoSpec",
    "JudgeSpec",
    "LoraSpec",
    "MethodSpec",
    "ModelSpec",
    "PromptSpec",
    "Recipe",
    "RewardSpec",
    "Section",
    "SftSpec",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("lowmed.recipe.schema"), name)
