"""How many tokens a run's rows have: from the data set where it was prepared, else the most that the recipe allows."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lowmed.data.image.policy import PixelPolicy, image_tokens, target_size
from lowmed.data.ingest import prepared_folder
from lowmed.errors import DataError
from lowmed.nano.paint import SIDE_PIXELS
from lowmed.recipe import Recipe

TEMPLATE_TOKENS = 70  # chat template and wording around a question
QUESTION_TOKENS = 20  # of a question that is not at hand
REPLY_TOKENS = 160  # of a reference completion that is not at hand
CHARACTERS_PER_TOKEN = 3  # of English medical text, on the safe side


@dataclass(frozen=True)
class SequenceLengths:
    """Tokens of the longest row, part by part.

    Attributes:
        image: of all images of one question.
        images: their number.
        text: of the rest of the prompt.
        completion: of what is trained on.
        mean_image: the mean of `image`, for times.
        told_by: where this comes from, in words.
    """

    image: int
    images: int
    text: int
    completion: int
    mean_image: float
    told_by: str

    @property
    def prompt(self) -> int:
        """Tokens before the completion."""
        return self.image + self.text

    @property
    def row(self) -> int:
        """Tokens of a whole row."""
        return self.prompt + self.completion


def sequence_lengths(recipe: Recipe) -> SequenceLengths:
    """The lengths of a recipe's rows, without opening an image.

    Raises:
        DataError: the folder of a prepared data set is damaged.
    """
    folder = Path(recipe.data.path).expanduser() if recipe.data.path else None
    card = prepared_folder.data_card(folder) if folder else None
    if folder and card and card.has_images:
        return _prepared(recipe, folder, card.max_image_tokens)
    generated = recipe.data.source == "phantom"
    image = recipe.model.max_image_tokens
    if generated:
        image = image_tokens(SIDE_PIXELS, SIDE_PIXELS, PixelPolicy(image))
    told = "phantom's pictures" if generated else "the pixel policy's ceiling, one image a question; not prepared data"
    text = TEMPLATE_TOKENS + QUESTION_TOKENS
    if recipe.model.name == "nano":
        text *= 2  # its small vocabulary cuts words into more pieces
    return SequenceLengths(image, 1, text, _reply(recipe, REPLY_TOKENS), image, told)


def _prepared(recipe: Recipe, folder: Path, stored_budget: int) -> SequenceLengths:
    """From the sizes and texts that preparing recorded."""
    stored, asked = PixelPolicy(stored_budget), PixelPolicy(recipe.model.max_image_tokens)
    costs: dict[str, int] = {}
    for _, file in prepared_folder.stored_files(folder):
        for reference, (width, height) in zip(file.images, file.sizes, strict=True):
            costs[reference] = image_tokens(*target_size(width, height, stored), asked)
    counted: Counter[int] = Counter()
    images = text = completion = 0
    try:
        with (folder / prepared_folder.SAMPLES).open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                counted[sum(costs[reference] for reference in row["images"])] += 1
                images = max(images, len(row["images"]))
                text = max(text, len(row["question"]) + sum(map(len, row["options"])))
                completion = max(completion, len(row["answer"]) + len(row["explanation"] or row["question"]))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the prepared data set can not be read ({type(error).__name__}: {error})",
            str(folder),
            "run `lowmed data prepare` again",
        ) from error
    if not counted:
        raise DataError("the prepared data set is empty", str(folder), "run `lowmed data prepare` again")
    mean = sum(tokens * rows for tokens, rows in counted.items()) / counted.total()
    told = f"{counted.total():,} prepared rows, images of {min(counted)} to {max(counted)} tokens, mean {mean:.0f}"
    return SequenceLengths(
        max(counted),
        images,
        TEMPLATE_TOKENS + -(-text // CHARACTERS_PER_TOKEN),
        _reply(recipe, 20 + -(-completion // CHARACTERS_PER_TOKEN)),
        mean,
        told,
    )


def _reply(recipe: Recipe, reference: int) -> int:
    return recipe.method.max_sampled_tokens or reference
