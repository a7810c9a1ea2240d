"""How much of a JSON answer is right, field by field."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lowmed import answer
from lowmed.rewards.score import Score
from lowmed.sample import Sample

_MOST_LEAVES = 2


@dataclass(frozen=True)
class Extraction:
    """alpha x precision + (1 - alpha) x recall of the leaves (path and value) of a JSON answer; 0 for none.

    Efficient Medical VIE (2506.13363), which does not say its alpha. At alpha 0 invented fields cost nothing, and at
    alpha 1 left-out ones; so an answer of more than twice the gold's leaves earns nothing, which is the toolkit's
    guard. Other kinds of questions have nothing to say.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError("alpha is from 0 to 1")

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if sample.kind != "json":
            return Score(None, "the question asks for no JSON")
        read = answer.read(completion, sample)
        if not read.strict or read.value is None:
            return Score(0.0, f"no JSON in a single answer tag ({', '.join(read.flags) or read.source})")
        gold = leaves(answer.canonical(sample.answer))
        said = leaves(read.value)
        if not said or not gold:
            return Score(float(said == gold), "no fields", read.value)
        if said.total() > _MOST_LEAVES * gold.total():
            return Score(0.0, f"{said.total()} fields said, {gold.total()} known", read.value)
        shared = (said & gold).total()
        precision, recall = shared / said.total(), shared / gold.total()
        value = recall + self.alpha * (precision - recall)  # in this form rounding cannot lead beyond 1
        return Score(value, f"{shared} fields right of {said.total()} said and {gold.total()} known", read.value)


def leaves(canonical: str | None) -> Counter[tuple[str, str]]:
    """Path and value of every leaf of a JSON text; the places within a list of plain values do not count."""
    return Counter(_leaves("", json.loads(canonical))) if canonical is not None else Counter()


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{path}/{key}", inner)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            plain = not isinstance(inner, dict | list)
            yield from _leaves(f"{path}[]" if plain else f"{path}[{place}]", inner)
    else:
        yield path, json.dumps(value, ensure_ascii=False)
