"""The probability of each option of a question, in place of the answer in the model's own completion."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from lowmed import prompt
from lowmed.data.image.policy import prepare
from lowmed.engine import chat
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import decode
from lowmed.engine.prefix.sampling import unwrapped
from lowmed.engine.right_completions import log_probs
from lowmed.engine.training_data import TrainingRow
from lowmed.errors import RecipeError
from lowmed.evaluation.answerer import OpenImage
from lowmed.evaluation.probabilities import options_of
from lowmed.evaluation.records import StoredProbabilities
from lowmed.sample import LETTERS, Sample

OPEN = "<answer>"
OPTIONS_AT_ONCE = 4  # in one forward pass; each has the reasoning of the completion
Row = Mapping[str, Any]


def option_probabilities(
    loaded: Loaded,
    family: prompt.Family,
    rows: Sequence[Row],
    samples: Mapping[str, Sample],
    open_image: OpenImage,
) -> Iterator[StoredProbabilities]:
    """One line for each yes/no or choice question: the log-probability of the completion with each option as answer.

    A completion is the stored one up to its last answer tag, then the option and the end of the turn. So a model that
    reasons is measured after its own reasoning. The prompt is read once for all options.

    Args:
        loaded: the model.
        family: prompt family of the completions.
        rows: scored rows of the evaluation.
        samples: id -> the question.
        open_image: opens image references.

    Raises:
        RecipeError: lowmed does not run the layers of this model.
    """
    if loaded.backend == "unsloth" or not decode.supports(unwrapped(loaded.model)):
        raise RecipeError(
            "the probabilities of options need a model whose layers lowmed runs",
            "--probabilities",
            "leave --probabilities out; docs/models.md names the families",
        )
    start, end = chat.assistant_start(loaded.processor, family), chat.turn_end(loaded.tokenizer)
    loaded.model.eval()
    for row in rows:
        sample, options = samples[row["id"]], options_of(row)
        head, tag, _ = row["completion"].rpartition(OPEN)
        values: list[float] | None = None
        if tag:
            completions = [
                start.completed_by(head + tag + _written(family, sample, option)).removeprefix(start.text) + end
                for option in options
            ]
            ids = [loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in completions]
            images = [prepare(open_image(reference), loaded.policy) for reference in sample.images]
            values = []
            with torch.no_grad():
                for first in range(0, len(ids), OPTIONS_AT_ONCE):
                    part = ids[first : first + OPTIONS_AT_ONCE]
                    values += log_probs(loaded, family, TrainingRow(sample, 0), images, part).sum(dim=1).tolist()
        yield {"split": row["split"], "id": row["id"], "options": list(options), "log_probs": values}


def _written(family: prompt.Family, sample: Sample, option: str) -> str:
    """An option as an answer is written in the family's form, with the closing tag."""
    text = LETTERS[sample.options.index(option)] if sample.kind == "choice" else option
    return family.reference_answer.replace("{answer}", text) + "</answer>"
