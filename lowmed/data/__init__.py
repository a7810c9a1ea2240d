"""Data sets: sources, import, splits, audit. `for_recipe` loads what a recipe trains on."""

from lowmed.data.for_recipe import RecipeData, for_recipe

__all__ = ["RecipeData", "for_recipe"]
