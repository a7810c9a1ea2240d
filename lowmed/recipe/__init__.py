"""The recipe of a run: one frozen record of all settings.

The names are loaded on first use. Reading recipe files does not need the schema, and building it takes 0.1 s.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowmed.recipe.data import DataSpec, PromptSpec
    from lowmed.recipe.model import LoraSpec, ModelSpec
    from lowmed.recipe.schema import BridgeSpec, EvalSpec, JudgeSpec, Recipe

__all__ = ["BridgeSpec", "DataSpec", "EvalSpec", "JudgeSpec", "LoraSpec", "ModelSpec", "PromptSpec", "Recipe"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("lowmed.recipe.schema"), name)
