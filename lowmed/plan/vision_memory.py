"""Bytes that images take: their pixels, their features, and the tower at work on them."""

from lowmed.models import FAMILIES, PATCHES_PER_TOKEN
from lowmed.plan.workload import Workload


def encoded_once(sizes: Workload) -> bool:
    """Whether the tower is frozen, encodes each distinct image once, and builds no graph."""
    return sizes.tower == "once" and FAMILIES[sizes.model.family].vision_cache


def pixels(sizes: Workload, questions: int) -> float:
    """Normalised pixels in 32 bits, and the features that take their place in the prompt."""
    tokens = questions * sizes.lengths.image
    return tokens * (PATCHES_PER_TOKEN * sizes.model.patch_values * 4 + sizes.model.vision_out * sizes.width)


def encoding(sizes: Workload, questions: int, *, training: bool = False) -> float:
    """The vision tower at work: one image at a time without a graph, or in the stock form all of a batch's."""
    model, width = sizes.model, sizes.width
    inner = (3 if model.gated_vision else 2) * model.vision_intermediate
    at_work = 2 * (10 * model.vision_width + inner) * width / 2
    if encoded_once(sizes):
        return PATCHES_PER_TOKEN * sizes.lengths.image / max(1, sizes.lengths.images) * at_work
    patches = PATCHES_PER_TOKEN * sizes.lengths.image * questions
    if (
        training and sizes.batch.gradient_checkpointing
    ):  # its hooks make the tower build a graph, and recompute each block
        return patches * model.vision_width * width * (model.vision_depth + 1.7 * 16.2)
    return patches * at_work
