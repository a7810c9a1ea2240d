"""The rows of KTO: the labeled completion of every training row, the mismatched one for z0, and their batches."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch

from lowmed import prompt
from lowmed.data.unpaired import LabeledCompletion
from lowmed.engine.completion_batch import Batch, CompletionCollator
from lowmed.engine.load import Loaded
from lowmed.engine.training_data import TrainingRow


def mismatched_rows(rows: Sequence[TrainingRow], rows_per_step: int) -> list[int]:
    """For each row the number of a row of another question, whose completion is read with its prompt to estimate z0.

    It is the previous row of the same step, as in TRL, where the last row precedes the first. A row of the same
    question is passed over; if the step has no other question, the rows before the step follow, then those after it.
    The result does not depend on how a step is divided into forward passes.

    Args:
        rows: the rows of the run.
        rows_per_step: rows of an optimizer step.
    """
    result = []
    for number, row in enumerate(rows):
        start = number - number % rows_per_step
        end = min(start + rows_per_step, len(rows))
        in_step = chain(range(number - 1, start - 1, -1), range(end - 1, number, -1))
        elsewhere = chain(range(start - 1, -1, -1), range(len(rows) - 1, end - 1, -1))
        others = (other for other in chain(in_step, elsewhere) if rows[other].sample.id != row.sample.id)
        previous = number - 1 if number > start else end - 1
        result.append(next(others, previous))  # in a run of one question there is no other
    return result


class UnpairedCollator(CompletionCollator):
    """Makes a batch of labeled completions, with a mismatched one for each.

    Args:
        loaded: as of `CompletionCollator`, like the next two and `shared_prompts`.
        family: the prompts.
        rows: the rows of the run.
        labeled: the labeled completion of each row.
        mismatched: as of `mismatched_rows`.
        shared_prompts: read each distinct prompt once.
    """

    def __init__(
        self,
        loaded: Loaded,
        family: prompt.Family,
        rows: Sequence[TrainingRow],
        labeled: Sequence[LabeledCompletion],
        mismatched: Sequence[int],
        *,
        shared_prompts: bool,
    ) -> None:
        super().__init__(loaded, family, rows, shared_prompts=shared_prompts)
        self.labeled, self.mismatched = labeled, mismatched

    def __call__(self, examples: list[dict[str, Any]]) -> Batch:
        """A batch of the model's inputs.

        Args:
            examples: as of `CompletionCollator.prompts`.

        Returns:
            The inputs of `CompletionCollator.encode` for the completions of B rows; `label` [B]; `mismatched`, the
            inputs for the mismatched completions; and `scored`, a list of inputs for both: together if prompts are
            shared.
        """
        numbers = [example["row"] for example in examples]
        prompts, count = self.prompts(examples), len(numbers)
        own = [self.labeled[number].completion for number in numbers]
        other = [self.labeled[self.mismatched[number]].completion for number in numbers]
        each = list(range(count))
        if self.shared_prompts:
            both = self.encode(prompts, [*each, *each], [*own, *other])
            parts = [{name: value[part] for name, value in both.items()} for part in (slice(count), slice(count, None))]
            scored = [both]
        else:  # the images of all rows are one tensor, which cannot be divided by row
            scored = parts = [self.encode(prompts, each, completions) for completions in (own, other)]
        labels = torch.tensor([self.labeled[number].label for number in numbers])
        return {**parts[0], "label": labels, "mismatched": parts[1], "scored": scored}
