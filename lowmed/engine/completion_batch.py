"""Completions from a file with their prompts, as the inputs of a model. DPO and KTO choose what a batch holds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from trl.trainer.utils import flush_left, split_pixel_values_by_grid

from lowmed import prompt
from lowmed.engine import chat
from lowmed.engine.load import Loaded
from lowmed.engine.prefix.packing import IMAGE_INPUTS
from lowmed.engine.training_data import TrainingRow

TYPE_IDS = ("token_type_ids", "mm_token_type_ids")  # which tokens are images; 0 in a completion
Batch = dict[str, Any]
Content = TypeVar("Content")
Prompt = tuple[TrainingRow, list[Any]]  # with its images


def of_each_row(rows: Sequence[TrainingRow], of_sample: Mapping[str, tuple[Content, ...]]) -> list[Content]:
    """The pair or labeled completion of each row: a question with several uses the next one each time it is drawn."""
    drawn: Counter[str] = Counter()
    result = []
    for row in rows:
        several = of_sample[row.sample.id]
        result.append(several[drawn[row.sample.id] % len(several)])
        drawn[row.sample.id] += 1
    return result


class CompletionCollator:
    """Tokenizes prompts and completions.

    Args:
        loaded: its processor renders and tokenizes the prompts.
        family: the prompts.
        rows: the rows of the run.
        shared_prompts: read each distinct prompt once; otherwise each completion has its own, and images are repeated.
    """

    def __init__(
        self, loaded: Loaded, family: prompt.Family, rows: Sequence[TrainingRow], *, shared_prompts: bool
    ) -> None:
        self.loaded, self.family, self.rows = loaded, family, rows
        self.shared_prompts = shared_prompts
        self.start = chat.assistant_start(loaded.processor, family)
        self.end = chat.turn_end(loaded.tokenizer)

    def prompts(self, examples: Sequence[dict[str, Any]]) -> list[Prompt]:
        """The rows of examples, which have `row` and, unless the model reads text only, `images`."""
        return [(self.rows[example["row"]], example.get("images") or []) for example in examples]

    def encode(self, prompts: list[Prompt], prompt_of: list[int], completions: Sequence[str]) -> Batch:
        """The model's inputs for completions.

        Args:
            prompts: rows with their images.
            prompt_of: the number of the prompt of each completion.
            completions: assistant's turns.

        Returns:
            `input_ids`, `attention_mask` [completions, tokens], `completion_mask` [completions, tokens of the
            completion] and the inputs of the images. With shared prompts these are lists, one entry for each
            completion, and prompts are padded on the left.
        """
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

    def _encode_prompts(self, prompts: list[Prompt]) -> Batch:
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
