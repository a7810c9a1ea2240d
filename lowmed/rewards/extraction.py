"""Precision and recall of the fields of a JSON answer."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from lowmed import answer
from lowmed.rewards.score import Score
from lowmed.sample import Kind, Sample

_MAX_LEAF_RATIO = 2


@dataclass(frozen=True)
class Extraction:
    """alpha x precision + (1 - alpha) x recall of the fields of a JSON answer; 0 without JSON.

    A field is a leaf: path and value. Efficient Medical VIE (2506.13363), which does not publish its alpha. At alpha 0
    invented fields cost nothing, and at alpha 1 missing ones cost nothing. So an answer with more than twice the gold's
    leaves earns 0, which is lowmed's guard. The reward abstains on other kinds of questions.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("json",)
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError("alpha is from 0 to 1")

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if sample.kind != "json":
            return Score(None, "the question requests no JSON")
        read = answer.read(completion, sample)
        if not read.strict or read.value is None:
            return Score(0.0, f"no JSON in a single answer tag ({', '.join(read.flags) or read.source})")
        gold = leaves(answer.canonical(sample.answer))
        predicted = leaves(read.value)
        if not predicted or not gold:
            return Score(float(predicted == gold), "no fields", read.value)
        if predicted.total() > _MAX_LEAF_RATIO * gold.total():
            return Score(
                0.0, f"{predicted.total()} fields in the answer, {gold.total()} in the gold answer", read.value
            )
        shared = (predicted & gold).total()
        precision, recall = shared / predicted.total(), shared / gold.total()
        value = recall + self.alpha * (precision - recall)  # this form cannot exceed 1 by rounding
        why = f"{shared} right fields, {predicted.total()} in the answer, {gold.total()} in the gold answer"
        return Score(value, why, read.value)


def leaves(canonical: str | None) -> Counter[tuple[str, str]]:
    """Path and value of every leaf of a JSON text, with counts. The index in a list of plain values is ignored."""
    return Counter(_leaves("", json.loads(canonical))) if canonical is not None else Counter()


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{path}/{key}", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            is_plain = not isinstance(inner, dict | list)
            yield from _leaves(f"{path}[]" if is_plain else f"{path}[{index}]", inner)
    else:
        yield path, json.dumps(value, ensure_ascii=False)
