"""Measurements of right completions in a forward pass without gradients, which some rewards need."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import groupby
from typing import Any

import torch

from lowmed import prompt
from lowmed.engine import chat
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import packing
from lowmed.engine.training_data import TrainingRow
from lowmed.rewards.accuracy import Accuracy

Span = tuple[int, int]  # of tokens: the first, and the one after the last
# Row numbers, images of each, completion texts and token ids -> a value of each completion, or None.
Measure = Callable[[list[int], list[Any], list[str], list[list[int]]], list[float | None]]
# A row, and of some completions to its prompt the index of the first, all token ids and spans -> a value of each.
MeasureBatch = Callable[[TrainingRow, int, list[list[int]], list[Span]], list[float | None]]
_LONGEST_CHARACTER = 4  # tokens, which hold a byte each


def measure_right(
    loaded: Loaded,
    family: prompt.Family,
    rows: Sequence[TrainingRow],
    numbers: Sequence[int],
    texts: Sequence[str],
    ids: Sequence[list[int]],
    *,
    tag: str,
    batch_size: int,
    measure: MeasureBatch,
) -> list[float | None]:
    """Measure the right completions of a batch, those of one prompt together, without gradients or dropout.

    Args:
        loaded: the model.
        family: prompt family.
        rows: all rows of the run.
        numbers: the row of each completion; completions of one prompt are adjacent.
        texts: texts of the completions.
        ids: their tokens.
        tag: `think` or `answer`: the part of the completion that is measured.
        batch_size: completions in one forward pass.
        measure: measures completions to one prompt.

    Returns:
        One value for each completion; None if its answer is wrong, or the tag is missing or empty.
    """
    values: list[float | None] = [None] * len(numbers)
    opening = chat.assistant_start(loaded.processor, family).opening
    training = loaded.model.training
    loaded.model.eval()
    with torch.no_grad():
        for number, group in groupby(range(len(numbers)), key=lambda index: numbers[index]):
            row = rows[number]
            right = [index for index in group if Accuracy()(row.sample, texts[index]).value == 1]
            spans = {index: span for index in right if (span := tag_span(loaded.tokenizer, ids[index], tag, opening))}
            scored = list(spans)
            for start in range(0, len(scored), batch_size):
                batch = scored[start : start + batch_size]
                measured = measure(row, batch[0], [ids[index] for index in batch], [spans[index] for index in batch])
                for index, value in zip(batch, measured, strict=True):
                    values[index] = value
    loaded.model.train(training)
    return values


def log_probs(
    loaded: Loaded, family: prompt.Family, row: TrainingRow, images: Sequence[Any], completions: list[list[int]]
) -> torch.Tensor:
    """Log-probabilities of the tokens of completions to one prompt, which is read once for all of them.

    Args:
        loaded: a model whose layers lowmed runs.
        family: prompt family.
        row: question and wording of the prompt.
        images: its prepared images.
        completions: token ids of each completion.

    Returns:
        [completions, longest completion]; 0 for padding.
    """
    processor, device = loaded.processor, loaded.model.device
    text = chat.render(processor, family, row.sample, row.wording)
    if loaded.family.text_only:
        encoded = processor([text], add_special_tokens=False, return_tensors="pt")
    else:
        encoded = processor(text=[text], images=[*images] if images else None, return_tensors="pt")
    count, longest = len(completions), max(map(len, completions))
    padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in completions])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in completions])
    columns = {"input_ids": padded, "attention_mask": mask, "mm_token_type_ids": torch.zeros_like(padded)}
    inputs: dict[str, Any] = {
        name: torch.cat([encoded[name].expand(count, -1), of_completions], dim=1).to(device)
        for name, of_completions in columns.items()
        if name in encoded
    }
    inputs |= {name: [encoded[name].to(device)] * count for name in packing.IMAGE_INPUTS if name in encoded}
    values, _entropy = packing.log_probs(
        loaded.model, inputs, longest, temperature=1.0, gradient_checkpointing=False, autocast=nullcontext()
    )
    return values


def tag_span(tokenizer: Any, ids: list[int], tag: str, opening: str = "") -> Span | None:
    """The tokens of the text inside a tag, or None if there is no such tag, or it is empty.

    A token may contain characters of the tag and of the text. It belongs to the text. `opening` is the part of the
    completion that stands in the prompt.
    """

    def decoded(count: int) -> str:
        return opening + str(tokenizer.decode(ids[:count], skip_special_tokens=True))

    def length(count: int) -> int:
        return len(decoded(count))

    text = decoded(len(ids))
    begin, end = text.rfind(f"<{tag}>") + len(f"<{tag}>"), text.rfind(f"</{tag}>")
    if begin < len(f"<{tag}>") or end <= begin:
        return None
    counts = range(len(ids) + 1)
    first = max(bisect_right(counts, begin, key=length) - 1, 0)  # tokens that end before the text
    # A part of a character counts as one, so the text may be complete some tokens after it is long enough.
    close = max(bisect_left(counts, end, key=length) - _LONGEST_CHARACTER, first + 1)
    last = next(count for count in counts[close:] if decoded(count).startswith(text[:end]))
    return first, last
