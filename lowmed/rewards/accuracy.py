"""Correctness of the answer, by the strict reading that evaluation reports."""

import re
from dataclasses import dataclass
from typing import ClassVar

from lowmed import answer
from lowmed.answer.lexicon import ALL, one_of
from lowmed.rewards.overlap import overlap
from lowmed.rewards.score import Score
from lowmed.sample import KINDS, Kind, Sample

_LIST_SEPARATOR = re.compile(rf",(?!\d)|[;/、，]|\b{one_of((*ALL.and_words, *ALL.or_words))}\b")


RIGHT_OR_WRONG: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "report")


@dataclass(frozen=True)
class Accuracy:
    """1 for a right answer in its tag, else 0.

    With `graded`, a wrong answer to an open question earns its token-F1 with the gold answer, without the words of the
    question. It earns 0 if it contradicts the gold answer or lists more than the gold answer does. The reward abstains
    on reports.
    """

    kinds: ClassVar[tuple[Kind, ...]] = RIGHT_OR_WRONG
    graded: bool = False

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if sample.kind == "report":
            return Score(None, "a report is neither right nor wrong")
        read = answer.read(completion, sample)
        if not read.strict:
            return Score(0.0, f"no single answer tag ({', '.join(read.flags) or read.source})", read.value)
        if read.value is None:
            return Score(0.0, f"unread ({', '.join(read.flags)})")
        if answer.grade(read, sample).strict_outcome == "correct":
            return Score(1.0, "right", read.value)
        if self.graded and sample.kind in ("open", "text"):
            return _overlap(sample, read.value, answer.extract(completion).text or "")
        return Score(0.0, "wrong", read.value)


def _overlap(sample: Sample, value: str, written: str) -> Score:
    scores = [_overlap_with(gold, sample, value, written) for gold in (sample.answer, *sample.accepted)]
    return max(scores, key=lambda score: score.value or 0.0)  # the first of the best: the gold answer before others


def _overlap_with(gold: str, sample: Sample, value: str, written: str) -> Score:
    if opposites := answer.contradictions(value, gold):
        return Score(0.0, f"contradicts the gold answer ({', '.join(opposites)})", value)
    if lists_more(written, gold):
        return Score(0.0, "lists more than the gold answer", value)
    return Score(overlap(value, gold, sample), "token-F1 with the gold answer", value)


def lists_more(written: str, gold: str) -> bool:
    """Whether an answer, as it was written, has more list separators (commas, "and", "or") than the gold answer."""
    return len(_LIST_SEPARATOR.findall(written)) > len(_LIST_SEPARATOR.findall(gold))
