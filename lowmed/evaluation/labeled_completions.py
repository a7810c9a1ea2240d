"""Labeled completions for KTO from a probe: right sampled completions are good, and wrong ones are bad.

No human labels them: the gold answers do. Questions that are always right or never right contribute too, which pairs
cannot use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lowmed.data.unpaired import LabeledCompletion
from lowmed.errors import DataError
from lowmed.evaluation.probe_completions import Row, Use, count_uses, distinct, sampled_by_use


@dataclass(frozen=True)
class LabeledRow:
    """A labeled completion of a question, with its tokens."""

    id: str
    completion: LabeledCompletion
    tokens: int


@dataclass(frozen=True)
class LabeledReport:
    """The labeled completions of a probe, and what became of its completions.

    Attributes:
        rows: in the order of the probe's questions.
        questions: number of questions in the probe.
        completions: number of completions by their use.
    """

    rows: tuple[LabeledRow, ...]
    questions: int
    completions: Mapping[Use, int]

    def count(self, label: bool) -> int:
        """The number of rows with a label."""
        return sum(row.completion.label == label for row in self.rows)

    def mean_tokens(self, label: bool) -> float:
        """Mean tokens of the completions with a label."""
        return sum(row.tokens for row in self.rows if row.completion.label == label) / max(1, self.count(label))


def labeled_of_probe(folder: Path, per_question: int) -> LabeledReport:
    """The labeled completions of a probe.

    Good are right completions in full form whose reasoning does not come to another answer; bad are wrong ones in full
    form. Both are complete and distinct, and the first ones sampled are taken. The result depends on the stored
    completions only.

    Args:
        folder: results of `lowmed probe`.
        per_question: most good and most bad completions of a question.

    Raises:
        RunError: it holds something else than a probe, or completions of held-out questions.
        DataError: no completion is right, or none is wrong.
    """
    questions = sampled_by_use(folder)
    uses = count_uses(questions)
    if missing := [use for use in ("right", "wrong") if use not in uses]:
        listed = ", ".join(f"{use} {count:,}" for use, count in uses.items())
        raise DataError(
            f"no completion of the probe is {missing[0]} in full form: {listed}",
            str(folder),
            "probe more questions, with more --samples; a model that is never right needs SFT first",
        )
    rows = [
        _labeled(row, label)
        for by_use in questions
        for label, use in ((True, by_use.get("right", ())), (False, by_use.get("wrong", ())))
        for row in islice(distinct(use), per_question)
    ]
    return LabeledReport(tuple(rows), len(questions), uses)


def _labeled(row: Row, label: bool) -> LabeledRow:
    return LabeledRow(row["id"], LabeledCompletion(row["completion"], label), row["tokens"])
