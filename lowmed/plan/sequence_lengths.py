"""Tokens per row: measured if the data set was prepared, otherwise the maximum that the recipe allows."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lowmed.architectures import reads_text_only
from lowmed.data.image.policy import PixelPolicy, image_tokens, pixel_policy, target_size
from lowmed.data.ingest import prepared_folder
from lowmed.data.sources import KNOWN
from lowmed.data.sources.generated import GENERATORS
from lowmed.data.sources.source import QUESTION_TOKENS, REFERENCE_TOKENS
from lowmed.errors import DataError
from lowmed.recipe import Recipe
from lowmed.recipe.sources import SourceSpec

TEMPLATE_TOKENS = 70  # chat template and a short wording around a question
CHAT_TOKENS = 30  # chat template alone, with its system message
CHARACTERS_PER_WORDING_TOKEN = 4  # wordings are plain English
NOT_PREPARED = "assumed for the longest rows; the data set is not prepared"
CHARACTERS_PER_TOKEN = 3  # a low estimate for English medical text
TURN_TOKENS = 10  # chat template around the two texts of an earlier turn


@dataclass(frozen=True)
class SequenceLengths:
    """Tokens of the longest row, by part.

    Attributes:
        image: tokens of all images of a question.
        images: number of images of a question.
        text: tokens of the rest of the prompt.
        completion: tokens of the completion.
        mean_image: mean of `image` over the rows. Times are estimated with it.
        source: origin of these lengths, in words.
    """

    image: int
    images: int
    text: int
    completion: int
    mean_image: float
    source: str

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return self.image + self.text

    @property
    def row(self) -> int:
        """Tokens of prompt and completion."""
        return self.prompt + self.completion


def sequence_lengths(recipe: Recipe) -> SequenceLengths:
    """The lengths of a recipe's rows; of several data sets the largest ones. No image is opened.

    Raises:
        DataError: the directory of a prepared data set is damaged.
    """
    if not recipe.data.sources:
        return _of_source(recipe, recipe.data.entries[0])
    each = [_of_source(recipe, entry) for entry in recipe.data.sources]
    return SequenceLengths(
        max(lengths.image for lengths in each),
        max(lengths.images for lengths in each),
        max(lengths.text for lengths in each),
        max(lengths.completion for lengths in each),
        max(lengths.mean_image for lengths in each),  # the shares by size are unknown without the data
        "; ".join(f"{name}: {one.source}" for name, one in zip(recipe.data.names, each, strict=True)),
    )


def _of_source(recipe: Recipe, entry: SourceSpec) -> SequenceLengths:
    lengths = _with_images(recipe, entry)
    if not reads_text_only(recipe.model):
        return lengths
    source = NOT_PREPARED if lengths.source.startswith("upper bound") else lengths.source
    return replace(lengths, image=0, images=0, mean_image=0.0, source=source)


def _with_images(recipe: Recipe, entry: SourceSpec) -> SequenceLengths:
    folder = Path(entry.path).expanduser() if entry.path else None
    card = prepared_folder.data_card(folder) if folder else None
    if folder and card and card.has_images:
        return _of_prepared_data(recipe, folder, card.max_image_tokens)
    image = pixel_policy(recipe.model).most_tokens
    known = KNOWN.get(entry.source)
    number = known.images if known else 1
    each = "one image" if number == 1 else f"{number} images"
    source = f"upper bound: {each} per question at model.max_image_tokens; the data set is not prepared"
    if known and known.generated:
        side = GENERATORS[known.name].side_pixels
        image = image_tokens(side, side, pixel_policy(recipe.model))
        source = f"generated images of the {known.name} data set"
    text = _around_the_question(recipe) + (known.question_tokens if known else QUESTION_TOKENS)
    if recipe.model.name == "nano":
        text *= 2  # its small vocabulary splits words into more tokens
    completion = _completion(recipe, known.reference_tokens if known else REFERENCE_TOKENS)
    return SequenceLengths(number * image, number, text, completion, number * image, source)


def _of_prepared_data(recipe: Recipe, folder: Path, stored_tokens: int) -> SequenceLengths:
    """The lengths from image sizes and texts that `lowmed data prepare` stored."""
    stored, current = PixelPolicy(stored_tokens), pixel_policy(recipe.model)
    tokens_of: dict[str, int] = {}
    for _, file in prepared_folder.stored_files(folder):
        for reference, (width, height) in zip(file.images, file.sizes, strict=True):
            tokens_of[reference] = image_tokens(*target_size(width, height, stored), current)
    rows_by_tokens: Counter[int] = Counter()
    images = text = completion = 0
    reasoning = recipe.prompts.training.completion_format == "think_answer"
    try:
        with (folder / prepared_folder.SAMPLES).open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                rows_by_tokens[sum(tokens_of[reference] for reference in row["images"])] += 1
                images = max(images, len(row["images"]))
                text = max(text, len(row["question"]) + sum(map(len, row["options"])) + _history(row))
                if not reasoning or row["explanation"]:  # SFT leaves out the other rows
                    completion = max(completion, len(row["answer"]) + len(row["explanation"] if reasoning else ""))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the prepared data set cannot be read ({type(error).__name__}: {error})",
            str(folder),
            "run `lowmed data prepare` again",
        ) from error
    if not rows_by_tokens:
        raise DataError("the prepared data set is empty", str(folder), "run `lowmed data prepare` again")
    rows = rows_by_tokens.total()
    mean = sum(tokens * count for tokens, count in rows_by_tokens.items()) / rows
    spread = f"{min(rows_by_tokens)} to {max(rows_by_tokens)} image tokens, mean {mean:.0f}"
    return SequenceLengths(
        max(rows_by_tokens),
        images,
        _around_the_question(recipe) + -(-text // CHARACTERS_PER_TOKEN),
        _completion(recipe, 20 + -(-completion // CHARACTERS_PER_TOKEN)),
        mean,
        f"{rows:,} prepared rows with {spread}",
    )


def _history(row: dict[str, Any]) -> int:
    """Characters of the earlier turns, with those that the chat template adds."""
    turns = row.get("history", ())
    return sum(len(text) for turn in turns for text in turn) + len(turns) * TURN_TOKENS * CHARACTERS_PER_TOKEN


def _around_the_question(recipe: Recipe) -> int:
    """Tokens of chat template, longest wording, system message and prefill."""
    prompts = recipe.prompts
    longest = max(map(len, (*prompts.training.wordings, *prompts.training.fallback_wordings)))
    wording = max(TEMPLATE_TOKENS, CHAT_TOKENS + -(-longest // CHARACTERS_PER_WORDING_TOKEN))
    return wording + -(-len(prompts.prefill + prompts.system) // CHARACTERS_PER_TOKEN)


def _completion(recipe: Recipe, reference: int) -> int:
    method = recipe.method
    # The completions of a file are those of a probe, which end at the limit of an evaluation.
    return method.max_sampled_tokens or (recipe.eval.max_new_tokens if method.preferences else reference)
