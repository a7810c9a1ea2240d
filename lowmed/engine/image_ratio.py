"""How much likelier the image makes a completion than another group's image, for the reward `image_dependence`."""

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from lowmed import prompt
from lowmed.data.image.policy import prepare
from lowmed.engine.job import TrainingJob
from lowmed.engine.load import Loaded
from lowmed.engine.right_completions import Measure, Span, log_probs, measure_right
from lowmed.engine.training_data import TrainingRow
from lowmed.rewards import Weighted
from lowmed.rewards.score import ImageReward


def for_job(job: TrainingJob) -> Measure | None:
    """The measurement of `Rollout.image_log_ratio` in a run, or None if no reward needs it."""
    family, size = job.recipe.prompts.training, job.size.per_device_train_batch_size
    return image_log_ratio(job.rewards, job.loaded, job.rows, family, job.data_split.open_image, size)


def image_log_ratio(
    rewards: Sequence[Weighted],
    loaded: Loaded,
    rows: Sequence[TrainingRow],
    family: prompt.Family,
    open_image: Callable[[str], Image.Image],
    per_device_train_batch_size: int,
) -> Measure | None:
    """The measurement of `Rollout.image_log_ratio`, or None if no reward needs it.

    It reads each right completion twice, with its own and with the exchanged image, under the present adapter. The
    prompt is read once for all of them.

    Args:
        rewards: rewards of the recipe, with their training samples.
        loaded: model with the adapter to train.
        rows: all rows of the run.
        family: prompt family.
        open_image: opens the image references of the samples.
        per_device_train_batch_size: completions in one forward pass.
    """
    reward: Any = next((reward.reward for reward in rewards if "image_log_ratio" in reward.needs), None)
    if reward is None:
        return None
    options: ImageReward = reward
    tag = options.tag
    shortest = options.min_tokens if tag == "think" else 1

    def measure(numbers: list[int], images: list[Any], texts: list[str], ids: list[list[int]]) -> list[float | None]:
        def ratios(row: TrainingRow, first: int, completions: list[list[int]], spans: list[Span]) -> list[float | None]:
            references = options.exchanged.get(row.sample.id)
            if not references:
                return [None] * len(completions)
            others = [prepare(open_image(reference), loaded.policy) for reference in references]
            own, exchanged = (log_probs(loaded, family, row, shown, completions) for shown in (images[first], others))
            sums = ((a - b)[slice(*span)].sum() for a, b, span in zip(own, exchanged, spans, strict=True))
            counts = (max(last - first, shortest) for first, last in spans)
            return [float(total / count) for total, count in zip(sums, counts, strict=True)]

        size = per_device_train_batch_size
        return measure_right(loaded, family, rows, numbers, texts, ids, tag=tag, batch_size=size, measure=ratios)

    return measure
