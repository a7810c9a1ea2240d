"""The rows of DPO: the pair of every training row, the altered prompts of mDPO, and their batches of tokens."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from trl.trainer.utils import flush_left, split_pixel_values_by_grid

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.pairs import Pair, Pairs
from lowmed.data.split import DataSplit
from lowmed.engine import chat
from lowmed.engine.load import Loaded
from lowmed.engine.prefix.packing import IMAGE_INPUTS
from lowmed.engine.training_data import TrainingRow, as_dataset
from lowmed.evaluation import controls
from lowmed.sample import Sample, without_images

TYPE_IDS = ("token_type_ids", "mm_token_type_ids")  # which tokens are images; 0 in a completion
Batch = dict[str, Any]


def pair_of_row(rows: Sequence[TrainingRow], pairs: Pairs) -> list[Pair]:
    """The pair of each row: a question with several pairs uses the next one each time it is drawn."""
    drawn: Counter[str] = Counter()
    result = []
    for row in rows:
        of_sample = pairs[row.sample.id]
        result.append(of_sample[drawn[row.sample.id] % len(of_sample)])
        drawn[row.sample.id] += 1
    return result


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


class PreferenceCollator:
    """Makes a batch of pairs: the chosen completions, the rejected ones, then the chosen ones with altered images.

    Args:
        loaded: its processor renders and tokenizes the prompts.
        family: the prompts.
        rows: the rows of the run.
        pairs: the pair of each row.
        altered: the rows with altered images, or None.
        shared_prompts: read each distinct prompt once; otherwise each completion has its own, and images are repeated.
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
        self.loaded, self.family, self.rows, self.pairs, self.altered = loaded, family, rows, pairs, altered
        self.shared_prompts = shared_prompts
        self.start = chat.assistant_start(loaded.processor, family)
        self.end = chat.turn_end(loaded.tokenizer)

    def __call__(self, examples: list[dict[str, Any]]) -> Batch:
        """A batch of the model's inputs.

        Args:
            examples: rows of the data set, with `row` and, unless the model reads text only, `images`.

        Returns:
            `input_ids`, `attention_mask` [completions, tokens] and `completion_mask` [completions, tokens of the
            completion]: B chosen, B rejected, then one for each row with an altered image; `altered` [completions with
            an altered image], the indices of their rows in the batch; and the inputs of the images. With shared prompts
            these are lists, one entry for each completion, and prompts are padded on the left.
        """
        numbers = [example["row"] for example in examples]
        prompts = [
            (self.rows[number], example.get("images") or []) for number, example in zip(numbers, examples, strict=True)
        ]
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
        batch = self._encode(prompts, prompt_of, completions)
        batch["altered"] = torch.tensor(altered, dtype=torch.long)
        return batch

    def _encode(
        self, prompts: list[tuple[TrainingRow, list[Any]]], prompt_of: list[int], completions: list[str]
    ) -> Batch:
        if not self.shared_prompts:
            prompts, prompt_of = [prompts[number] for number in prompt_of], list(range(len(prompt_of)))
        encoded = self._encode_prompts(prompts)
        fields = {name: encoded.pop(name)[prompt_of] for name in ("input_ids", "attention_mask")}
        types = {name: encoded.pop(name)[prompt_of] for name in TYPE_IDS if name in encoded}
        ids = [self._completion_ids(text) for text in completions]
        longest = max(map(len, ids))
        pad = self.loaded.tokenizer.pad_token_id
        completion_ids = torch.tensor([[*one, *[pad] * (longest - len(one))] for one in ids])
        mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in ids])
        joined: Batch = {
            "input_ids": torch.cat([fields["input_ids"], completion_ids], dim=1),
            "attention_mask": torch.cat([fields["attention_mask"], mask], dim=1),
            **{name: torch.cat([values, torch.zeros_like(mask)], dim=1) for name, values in types.items()},
        }
        if self.shared_prompts:
            if "pixel_values" in encoded:
                counts = [len(images) for _, images in prompts]
                split = split_pixel_values_by_grid({**encoded, "num_images": counts})
                joined |= {name: [split[name][number] for number in prompt_of] for name in IMAGE_INPUTS}
            return {**joined, "completion_mask": mask}
        full_mask = torch.cat([torch.zeros_like(fields["attention_mask"]), mask], dim=1)
        names = list(joined)
        attention_mask, *others = flush_left(joined.pop("attention_mask"), *joined.values(), full_mask)
        flushed = dict(zip([name for name in names if name != "attention_mask"], others[:-1], strict=True))
        return {**encoded, **flushed, "attention_mask": attention_mask, "completion_mask": others[-1]}

    def _encode_prompts(self, prompts: list[tuple[TrainingRow, list[Any]]]) -> Batch:
        """The inputs of prompts, padded on the left."""
        processor = self.loaded.processor
        texts = [chat.render(processor, self.family, row.sample, row.wording) for row, _ in prompts]
        options: dict[str, Any] = {
            "padding": True, "padding_side": "left", "return_tensors": "pt", "add_special_tokens": False,
        }  # fmt: skip
        if self.loaded.family.text_only:
            return dict(self.loaded.tokenizer(texts, **options))
        nested = [images for _, images in prompts]
        flat = [image for images in nested for image in images]
        chosen = nested if self.loaded.family.fixed_size else flat
        return dict(processor(text=texts, images=chosen if flat else None, **options))

    def _completion_ids(self, completion: str) -> list[int]:
        """The tokens that follow the prompt, up to the end of the turn, as the model would sample them."""
        rest = self.start.completed_by(completion).removeprefix(self.start.text)
        ids: list[int] = self.loaded.tokenizer(rest + self.end, add_special_tokens=False)["input_ids"]
        return ids
