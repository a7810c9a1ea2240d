"""Training rows in their order: which question comes when, in which wording, with its images read only when needed."""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lowmed import prompt
from lowmed.data.extraction import with_key_subset
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.sample import Sample

IMAGES_KEPT = 512  # prepared images held in memory; a group of completions asks for the same one again and again


@dataclass(frozen=True)
class TrainingRow:
    """One turn of one sample: its question in one wording."""

    sample: Sample
    wording: int


def schedule(
    samples: Sequence[Sample],
    count: int,
    wordings: int,
    seed: int,
    *,
    in_order: bool = False,
    sample_keys: bool = False,
) -> list[TrainingRow]:
    """`count` rows: whole passes over the samples, each with wordings drawn anew.

    Everything depends on the seed alone, so that a resumed run meets the same rows at the same updates.

    Args:
        samples: to train on.
        count: questions of the whole run.
        wordings: of the prompt family.
        seed: of order, wordings and keys.
        in_order: each pass takes the samples as they stand instead of shuffled, e.g. from easy to hard.
        sample_keys: each row asks for a random subset of the keys of a JSON answer.
    """
    draw = random.Random(seed)
    rows: list[TrainingRow] = []
    while len(rows) < count:
        order = list(range(len(samples)))
        if not in_order:
            draw.shuffle(order)
        rows += [TrainingRow(samples[place], draw.randrange(wordings)) for place in order]
    if sample_keys:
        keys = random.Random(f"keys {seed}")
        rows = [TrainingRow(with_key_subset(row.sample, keys), row.wording) for row in rows[:count]]
    return rows[:count]


def as_dataset(
    rows: Sequence[TrainingRow],
    family: prompt.Family,
    open_image: Callable[[str], Image.Image],
    policy: PixelPolicy,
    *,
    with_reference: bool,
) -> Any:
    """The rows as a datasets.Dataset that renders prompts and reads images on access.

    Columns: `prompt` (messages), `images` (list of RGB images within the pixel policy), `row` (number of the row), and
    with `with_reference` also `completion` (messages).
    """
    from datasets import Dataset

    @functools.lru_cache(maxsize=IMAGES_KEPT)
    def image(reference: str) -> Image.Image:
        return prepare(open_image(reference), policy)

    def render(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [rows[number] for number in batch["row"]]
        columns: dict[str, list[Any]] = {
            "prompt": [prompt.build_messages(family, row.sample, row.wording) for row in chosen],
            "images": [[image(reference) for reference in row.sample.images] for row in chosen],
            "row": batch["row"],
        }
        if with_reference:
            completions = [prompt.reference_completion(family, row.sample) for row in chosen]
            columns["completion"] = [[{"role": "assistant", "content": completion}] for completion in completions]
        return columns

    return Dataset.from_dict({"row": list(range(len(rows)))}).with_transform(render)
