"""Bytes of images: their pixels, their features, and the working memory of the vision tower."""

from lowmed.models import FAMILIES
from lowmed.plan.workload import Workload


def uses_vision_cache(workload: Workload) -> bool:
    """Whether each distinct image is encoded once, without gradients."""
    return workload.vision == "cached" and FAMILIES[workload.model.family].vision_cache


def pixels(workload: Workload, questions: int) -> float:
    """Bytes of the normalized 32-bit pixels, and of the features that replace the placeholders in the prompt.

    Where lowmed's own loop runs the model for GRPO or DPO, pixels stay in main memory until their image is encoded.

    Args:
        workload: recipe, model, row lengths and batch.
        questions: number of questions whose images are held.
    """
    model, tokens = workload.model, questions * workload.lengths.image
    features = (1 + model.deepstack) * model.vision_out * workload.value_bytes
    on_device = workload.on_cpu or not workload.keeps_pixels_in_main_memory
    values = model.patches_per_token * model.patch_values * 4 if on_device or not uses_vision_cache(workload) else 0
    return tokens * (values + features)


def encoding(workload: Workload, questions: int, *, training: bool = False) -> float:
    """Bytes of the vision tower's working memory.

    With the cache this is one image without gradients; otherwise all images of the batch.

    Args:
        workload: recipe, model, row lengths and batch.
        questions: number of questions in the batch.
        training: whether a backward pass follows.
    """
    model, width = workload.model, workload.value_bytes
    inner = (3 if model.gated_vision else 2) * model.vision_intermediate
    working = 2 * (10 * model.vision_width + inner) * width / 2
    if uses_vision_cache(workload):
        return model.patches_per_token * workload.lengths.image / max(1, workload.lengths.images) * working
    patches = model.patches_per_token * workload.lengths.image * questions
    if training and workload.batch.gradient_checkpointing:
        # The hooks of gradient checkpointing make the frozen tower build a graph and recompute each block.
        return patches * model.vision_width * width * (model.vision_depth + 1.7 * 16.2)
    return patches * working
