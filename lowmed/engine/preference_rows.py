"""The rows of DPO: the pair of every training row, the altered prompts of mDPO, and their batches of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.pairs import Pair
from lowmed.data.split import DataSplit
from lowmed.engine.completion_batch import Batch, CompletionCollator
from lowmed.engine.load import Loaded
from lowmed.engine.training_data import TrainingRow, as_dataset
from lowmed.evaluation import controls
from lowmed.sample import Sample, without_images


def altered_rows(rows: Sequence[TrainingRow], control: str, data_split: DataSplit) -> list[TrainingRow | None]:
    """Each row with the altered image of a control; None where there is no image, or none to take its place.

    Args:
        rows: the rows of the run.
        control: `blind`, `grey` or `shuffled`, as `lowmed eval` has them.
        data_split: its training questions supply the images of `shuffled`.
    """
    with_image = {row.sample.id: row.sample for row in rows if row.sample.images}
    altered: dict[str, Sample] = with_image  # grey: its images are altered when they are opened
    if control == "blind":
        altered = {name: without_images(sample) for name, sample in with_image.items()}
    elif control == "shuffled":
        replaced = controls.shuffled(tuple(with_image.values()), data_split.train)
        altered = {sample.id: sample for sample in replaced}
    return [replace(row, sample=altered[row.sample.id]) if row.sample.id in altered else None for row in rows]


@dataclass(frozen=True)
class AlteredRows:
    """The rows of a run with altered images.

    Attributes:
        rows: one for each row of the run, or None.
        dataset: the same rows with the columns of `training_data.as_dataset`; in place of a None, the row of the run.
    """

    rows: Sequence[TrainingRow | None]
    dataset: Any


def alter(
    rows: Sequence[TrainingRow], control: str, data_split: DataSplit, policy: PixelPolicy, family: prompt.Family
) -> AlteredRows:
    """The altered rows of a run, with images that are opened when a row is read.

    Args:
        rows: as in `altered_rows`, like the next two.
        control: the control.
        data_split: also opens the images.
        policy: limits of image sizes.
        family: the prompts.
    """
    altered = altered_rows(rows, control, data_split)

    def open_image(reference: str) -> Image.Image:
        image = data_split.open_image(reference)
        return controls.grey(image) if control == "grey" else image

    both = [other or row for other, row in zip(altered, rows, strict=True)]
    return AlteredRows(altered, as_dataset(both, family, open_image, policy, with_completion=False))


class PreferenceCollator(CompletionCollator):
    """Makes a batch of pairs: the chosen completions, the rejected ones, then the chosen ones with altered images.

    Args:
        loaded: as of `CompletionCollator`, like the next two and `shared_prompts`.
        family: the prompts.
        rows: the rows of the run.
        pairs: the pair of each row.
        altered: the rows with altered images, or None.
        shared_prompts: read each distinct prompt once.
    """

    def __init__(
        self,
        loaded: Loaded,
        family: prompt.Family,
        rows: Sequence[TrainingRow],
        pairs: Sequence[Pair],
        altered: AlteredRows | None,
        *,
        shared_prompts: bool,
    ) -> None:
        super().__init__(loaded, family, rows, shared_prompts=shared_prompts)
        self.pairs, self.altered = pairs, altered

    def __call__(self, examples: list[dict[str, Any]]) -> Batch:
        """A batch of the model's inputs.

        Args:
            examples: as of `CompletionCollator.prompts`.

        Returns:
            The inputs of `CompletionCollator.encode` for B chosen completions, B rejected ones, then one for each row
            with an altered image; and `altered` [completions with an altered image], the indices of their rows in the
            batch.
        """
        numbers = [example["row"] for example in examples]
        prompts = self.prompts(examples)
        completions = [self.pairs[number].chosen for number in numbers]
        completions += [self.pairs[number].rejected for number in numbers]
        prompt_of = [*range(len(numbers)), *range(len(numbers))]
        altered = []
        if self.altered:
            for index, number in enumerate(numbers):
                row = self.altered.rows[number]
                if row is not None:
                    altered.append(index)
                    prompt_of.append(len(prompts))
                    prompts.append((row, self.altered.dataset[number].get("images") or []))
                    completions.append(self.pairs[number].chosen)
        batch = self.encode(prompts, prompt_of, completions)
        batch["altered"] = torch.tensor(altered, dtype=torch.long)
        return batch
