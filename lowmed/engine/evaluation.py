"""A model made ready to answer the questions of an evaluation."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lowmed import prompt, recipe
from lowmed.engine import load, machine
from lowmed.evaluate.replies import Answerer, OpenImage, Reply
from lowmed.sample import Sample

SEED = 0  # of sampled replies


def answerer(model: recipe.Model, adapter: Path | None, family: prompt.Family, max_new_tokens: int) -> Answerer:
    """The model, loaded once, as something that answers.

    Args:
        model: the base.
        adapter: folder of the adapter on it, or None for the base itself.
        family: how it is asked.
        max_new_tokens: a reply longer than this is cut.

    Raises:
        LowmedError: the machine or the model does not allow it.
    """
    here = machine.find(model)
    loaded = load.base(model, here)
    if adapter:
        loaded = load.with_adapter(loaded, adapter)
    import torch

    from lowmed.engine.generate import replies

    torch.manual_seed(SEED)

    def answer(samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float) -> Iterator[Reply]:
        return replies(
            loaded,
            samples,
            family,
            open_image,
            max_new_tokens=max_new_tokens,
            copies=copies,
            temperature=temperature,
        )

    return answer
