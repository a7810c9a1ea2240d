"""A model's replies to every held-out question of a division."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lowmed import prompt, recipe
from lowmed.data.division import Division
from lowmed.engine import load, machine
from lowmed.evaluate.measure import prediction


def predict(
    model: recipe.Model,
    adapter: Path | None,
    division: Division,
    family: prompt.Family,
    *,
    max_new_tokens: int,
    advance: Callable[[int, str], None],
) -> list[dict[str, Any]]:
    """One greedy reply to each held-out question, split after split, as lines of predictions.jsonl.

    Args:
        model: the base.
        adapter: folder of the adapter on it, or None for the base itself.
        division: what is asked.
        family: how it is asked.
        max_new_tokens: a reply longer than this is cut.
        advance: told how many questions are answered.

    Raises:
        LowmedError: the machine, the model or an image does not allow it.
    """
    here = machine.find(model)
    loaded = load.base(model, here)
    if adapter:
        loaded = load.with_adapter(loaded, adapter)
    from lowmed.engine.generate import replies

    rows = []
    for split, samples in division.held_out.items():
        for reply in replies(loaded, samples, family, division.open_image, max_new_tokens=max_new_tokens):
            rows.append(prediction(reply.sample, split, reply.completion, reply.tokens, reply.finish_reason))
            advance(len(rows), split)
    return rows
