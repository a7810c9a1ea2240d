"""Similarity of an open answer to the gold answer, by sentence embeddings, behind the contradiction gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lowmed import answer
from lowmed.answer.findings import contradicts, quantities, read_findings
from lowmed.rewards import embedding
from lowmed.rewards.accuracy import lists_more
from lowmed.rewards.score import Need, Score
from lowmed.sample import Kind, Sample


@dataclass(frozen=True)
class Semantic:
    """1 for an open answer close in meaning to the gold answer; 0 if it contradicts it.

    Close means a cosine above that of 99 in 100 pairs of different gold answers. `graded` pays the similarity itself,
    from 0 (that of unrelated answers) to 1. Embeddings hardly see sides, negations and numbers, so the contradiction
    gate comes first, and all numbers with their units must be those of the gold answer. The reward abstains on other
    kinds of questions. The idea is MediX-R1's (2602.23363, cosine of at least 0.8); scale and threshold are lowmed's,
    from the data's gold answers.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"embedding"})
    kinds: ClassVar[tuple[Kind, ...]] = ("open", "text")
    model: str = ""
    calibration: str = ""
    graded: bool = False

    def __post_init__(self) -> None:
        embedding.load_scale(self.calibration, self.model)

    def prepare(self, completions: Sequence[tuple[Sample, str]]) -> None:
        """Embed all answers of a batch together."""
        answers = [
            (answer.read(completion, sample), sample)
            for sample, completion in completions
            if sample.kind in ("open", "text")
        ]
        pairs = [
            (read.value, answer.normalize(sample.answer)) for read, sample in answers if read.strict and read.value
        ]
        embedding.embed(self.model, (text for pair in pairs for text in pair))

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if sample.kind not in ("open", "text"):
            return Score(None, f"a {sample.kind} answer is right or wrong")
        read = answer.read(completion, sample)
        if not read.strict or read.value is None:
            return Score(0.0, f"unread ({', '.join(read.flags) or read.source})", read.value)
        if answer.grade(read, sample).outcome == "correct":
            return Score(1.0, "right", read.value)
        if opposites := answer.contradictions(read.value, sample.answer):
            return Score(0.0, f"contradicts the gold answer ({', '.join(opposites)})", read.value)
        if conflict := contradicts(read_findings(read.value).findings, read_findings(sample.answer).findings):
            return Score(0.0, f"contradicts the gold answer ({conflict})", read.value)
        if quantities(read.value) != quantities(sample.answer):
            return Score(0.0, "other numbers than the gold answer", read.value)
        if lists_more(answer.extract(completion).text or "", sample.answer):
            return Score(0.0, "lists more than the gold answer", read.value)
        scale = embedding.load_scale(self.calibration, self.model)
        cosine = embedding.cosine(self.model, read.value, answer.normalize(sample.answer))
        value = scale.rescale(cosine) if self.graded else float(cosine >= scale.threshold)
        return Score(value, f"cosine {cosine:.3f}, threshold {scale.threshold:.3f}", read.value)
