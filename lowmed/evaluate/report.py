"""The record of one evaluation: what was asked of whom, the figures, and the floor beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

from lowmed import __version__, prompt, recipe, recipe_file
from lowmed.answer import RULES_VERSION
from lowmed.data.division import Division
from lowmed.evaluate.floor import no_image_floor
from lowmed.evaluate.measure import figures


def settings(model: recipe.Model, family: prompt.Family, division: Division, max_new_tokens: int) -> dict[str, Any]:
    """All that must be equal for two sets of replies to stand in one table."""
    return {
        "model": recipe_file.portable_path(model.name),
        "load_in": model.load_in,
        "max_image_tokens": model.max_image_tokens,
        "max_new_tokens": max_new_tokens,
        "prompts": family.name,
        "prompt_digest": family.digest,
        "source": division.source,
        "data_digest": division.digest,
        "questions": {split: len(samples) for split, samples in division.held_out.items()},
    }


def report(
    asked: Mapping[str, Any], division: Division, predictions: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """The evaluation as one JSON document.

    Args:
        asked: what `settings` gave.
        division: which questions, and what was trained on.
        predictions: who answered (`base`, `tuned`) -> lines of predictions.
    """
    return {
        "lowmed": __version__,
        "rules": RULES_VERSION,
        **asked,
        "splits": {
            split: {
                "questions": len(samples),
                "images": len({image for sample in samples for image in sample.images}),
                "images_trained_on": len(division.shared[split]),
                "stamp": division.stamp(split).lstrip("; "),
                "no_image_floor": no_image_floor(division.train, samples) if division.train else None,
                "results": {
                    who: figures([row for row in rows if row["split"] == split]) for who, rows in predictions.items()
                },
            }
            for split, samples in division.held_out.items()
        },
    }
