"""Data sets: sources, import, splits, audit. `for_recipe` loads the data of a recipe."""

from lowmed.data.for_recipe import RecipeData, for_recipe

__all__ = ["RecipeData", "for_recipe"]
