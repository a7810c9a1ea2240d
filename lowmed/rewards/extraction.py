"""Weighted F-measure of the fields of a JSON answer."""

from dataclasses import dataclass
from typing import ClassVar

from lowmed import answer
from lowmed.answer import fields
from lowmed.rewards.score import Score
from lowmed.sample import Kind, Sample


@dataclass(frozen=True)
class Extraction:
    """F1 of the fields of a JSON answer; `alpha` weights precision against recall. 0 without JSON in its tag.

    A field is a filled leaf: its keys and its typed value. Efficient Medical VIE (2506.13363) adds alpha x precision
    and (1 - alpha) x recall. That sum pays 0.54 for one certain field of twelve, so lowmed takes the weighted harmonic
    mean of the two, which pays 0.15. Length is not limited, because each invented field lowers precision. The reward
    abstains on other kinds of questions.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("json",)
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError("alpha is above 0 and below 1: at 0 invented fields cost nothing, at 1 missing ones")

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if sample.kind != "json":
            return Score(None, "the question requests no JSON")
        gold, problem = fields.parse(sample.answer)
        if gold is None:
            return Score(None, f"the gold answer cannot be used: {problem}")
        extracted = answer.extract(completion)
        if not extracted.strict or extracted.text is None:
            return Score(0.0, f"no single answer tag ({extracted.problem or extracted.source})")
        predicted, problem = fields.parse(extracted.text)
        if predicted is None:
            return Score(0.0, problem, extracted.text)
        counts = fields.count(gold, predicted)
        why = f"{counts.shared} right fields, {counts.predicted} in the answer, {counts.gold} in the gold answer"
        return Score(counts.f_measure(self.alpha), why, extracted.text)
