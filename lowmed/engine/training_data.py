"""Training rows in order: each is a question in one wording. Images are opened when a row is read."""

import functools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any

from PIL import Image

from lowmed import prompt
from lowmed.data.balance import balanced_epochs
from lowmed.data.extraction import with_key_subset
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.data.mixture import balance_within, interleave
from lowmed.engine.chat import NO_START, AssistantStart, training_ids
from lowmed.recipe import Recipe
from lowmed.sample import Sample

NO_SHARES: Mapping[str, float] = MappingProxyType({})
CACHED_IMAGES = 512  # prepared images in memory: every completion of a group requests the same image


@dataclass(frozen=True)
class TrainingRow:
    """A sample with the number of a wording of its prompt."""

    sample: Sample
    wording: int


def run_rows(recipe: Recipe, samples: Sequence[Sample], shares: Mapping[str, float]) -> list[TrainingRow]:
    """The rows of a run in order, then the spare rows of a method that replaces groups.

    Args:
        recipe: all settings.
        samples: to train on.
        shares: as of `schedule`.
    """
    method, spec = recipe.method, recipe.data
    wordings, balance = len(recipe.prompts.training.wordings), balance_within(spec)
    in_order = spec.order == "easy_to_hard"
    options: dict[str, Any] = {"sample_keys": spec.sample_keys, "shares": shares, "balance": balance}
    count = method.max_steps * method.prompts_per_step
    rows = schedule(samples, count, wordings, recipe.seed, in_order=in_order, **options)
    return rows + schedule(samples, method.spare_draws, wordings, f"{recipe.seed} spare", **options)


def schedule(
    samples: Sequence[Sample],
    count: int,
    wordings: int,
    seed: int | str,
    *,
    in_order: bool = False,
    sample_keys: bool = False,
    shares: Mapping[str, float] = NO_SHARES,
    balance: str | None = None,
) -> list[TrainingRow]:
    """The rows of a run: epochs over the samples, each with new random wordings.

    With `shares`, each source has its own epochs, and the first rows of any number have the shares within one row. The
    result depends on the arguments only, so that a resumed run has the same rows at the same steps.

    Args:
        samples: to train on.
        count: rows of the whole run.
        wordings: wordings of the prompt family.
        seed: seed of the order, the wordings and the keys.
        in_order: keep the order of the samples in each epoch instead of shuffling, e.g. from easy to hard.
        sample_keys: each row requests a random subset of the keys of a JSON answer.
        shares: source -> its share of the rows; empty for samples of one data set.
        balance: a property whose values are drawn equally often, within each source (`data.balance`).
    """
    if shares:
        streams = [
            _rows([row for row in samples if row.source == name], wordings, f"{seed} {name}", in_order, balance)
            for name in shares
        ]
        rows = [next(streams[number]) for number in islice(interleave(list(shares.values())), count)]
    else:
        rows = list(islice(_rows(samples, wordings, seed, in_order, balance), count))
    if sample_keys:
        keys = random.Random(f"keys {seed}")
        rows = [TrainingRow(with_key_subset(row.sample, keys), row.wording) for row in rows]
    return rows


def _rows(
    samples: Sequence[Sample], wordings: int, seed: int | str, in_order: bool, balance: str | None
) -> Iterator[TrainingRow]:
    """Endless rows of one source, epoch after epoch."""
    draw = random.Random(seed)
    epochs = balanced_epochs(samples, balance, draw) if balance else _epochs(len(samples), draw, in_order)
    for order in epochs:
        yield from [TrainingRow(samples[index], draw.randrange(wordings)) for index in order]


def _epochs(count: int, draw: random.Random, in_order: bool) -> Iterator[list[int]]:
    while True:
        order = list(range(count))
        if not in_order:
            draw.shuffle(order)
        yield order


def as_dataset(
    rows: Sequence[TrainingRow],
    family: prompt.Family,
    open_image: Callable[[str], Image.Image],
    policy: PixelPolicy,
    *,
    with_completion: bool,
    start: AssistantStart = NO_START,
    tokenizer: Any = None,
) -> Any:
    """The rows as a datasets.Dataset that renders prompts and opens images on access.

    Args:
        rows: in training order.
        family: prompt family.
        open_image: opens an image reference of a sample.
        policy: limits of image sizes.
        with_completion: add the column `completion`: the assistant's turn, of which SFT trains on what follows `start`.
        start: the start of the turn that the prompts contain.
        tokenizer: that of a text-only model, else None.

    Returns:
        Columns: `prompt` (messages), `images` (list of RGB images within the pixel policy), `row` (index of the row),
        and with `with_completion` also `completion` (messages). For a text-only model there are no `images`, and with
        `with_completion` only `input_ids` and `completion_mask`: TRL does not tokenize rows that are made on access.
    """
    from datasets import Dataset

    @functools.lru_cache(maxsize=CACHED_IMAGES)
    def image(reference: str) -> Image.Image:
        return prepare(open_image(reference), policy)

    def render(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        selected = [rows[index] for index in batch["row"]]
        chats = [prompt.build_messages(family, row.sample, row.wording) for row in selected]
        turns = [start.completed_by(_training_completion(family, row.sample)) for row in selected if with_completion]
        if tokenizer is not None and with_completion:
            completions = [turn.removeprefix(start.text) for turn in turns]
            pairs = [
                training_ids(tokenizer, chat, family.prefill, completion)
                for chat, completion in zip(chats, completions, strict=True)
            ]
            return {"input_ids": [ids for ids, _ in pairs], "completion_mask": [mask for _, mask in pairs]}
        columns: dict[str, list[Any]] = {
            "prompt": chats if tokenizer is None else [prompt.as_texts(chat) for chat in chats],
            "row": batch["row"],
        }
        if tokenizer is None:  # TRL takes rows with this column for those of a vision-language model
            columns["images"] = [[image(reference) for reference in row.sample.images] for row in selected]
        if with_completion:
            columns["completion"] = [[{"role": "assistant", "content": turn}] for turn in turns]
        return columns

    return Dataset.from_dict({"row": list(range(len(rows)))}).with_transform(_Transform(render))


class _Transform:
    """A function that `datasets` need not hash.

    It hashes transforms to name the files of a cache, which this data set does not use. Hashing follows every function
    that the transform calls, and ends in a warning about recursion.
    """

    def __init__(self, function: Callable[[dict[str, list[int]]], dict[str, list[Any]]]) -> None:
        self.function = function

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        """Apply the function."""
        return self.function(batch)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return str, ("rows",)


def _training_completion(family: prompt.Family, sample: Sample) -> str:
    completion = prompt.training_completion(family, sample)
    assert completion is not None, sample.id  # data.for_recipe leaves out samples without one
    return completion
