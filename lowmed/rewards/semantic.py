"""How near an open answer is in meaning, short of contradiction."""

from collections.abc import Sequence
from dataclasses import dataclass

from lowmed import answer
from lowmed.rewards import embedding
from lowmed.rewards.accuracy import lists_more
from lowmed.rewards.score import Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class Semantic:
    """1 for an open answer that is nearer to the gold one than 99 in 100 other golds are; 0 where it contradicts it.

    `graded` pays the nearness itself, from 0 (as near as unrelated answers) to 1. Embeddings are nearly blind to sides
    and denials, so the contradiction gate comes first. Other kinds of questions have nothing to say. The idea is
    MediX-R1's (2602.23363: cosine of at least 0.8); scale and threshold from the data's own golds are the toolkit's.
    """

    model: str = ""
    calibration: str = ""
    graded: bool = False

    def __post_init__(self) -> None:
        embedding.calibration(self.calibration, self.model)

    def prepare(self, asked: Sequence[tuple[Sample, str]]) -> None:
        """Embed all answers of a batch at once."""
        pairs = [
            (answer.read(completion, sample), sample) for sample, completion in asked if sample.kind in ("open", "text")
        ]
        texts = [(read.value, answer.normalize(sample.answer)) for read, sample in pairs if read.strict and read.value]
        embedding.embed(self.model, (text for pair in texts for text in pair))

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if sample.kind not in ("open", "text"):
            return Score(None, f"a {sample.kind} answer is right or wrong")
        read = answer.read(completion, sample)
        if not read.strict or read.value is None:
            return Score(0.0, f"unread ({', '.join(read.flags) or read.source})", read.value)
        if answer.grade(read, sample).outcome == "correct":
            return Score(1.0, "right", read.value)
        if against := answer.contradictions(read.value, sample.answer):
            return Score(0.0, f"contradicts the gold answer ({', '.join(against)})", read.value)
        if lists_more(answer.extract(completion).text or "", sample.answer):
            return Score(0.0, "lists more than the gold answer", read.value)
        scale = embedding.calibration(self.calibration, self.model)
        near = embedding.cosine(self.model, read.value, answer.normalize(sample.answer))
        value = scale.scaled(near) if self.graded else float(near >= scale.threshold)
        return Score(value, f"cosine {near:.3f}, threshold {scale.threshold:.3f}", read.value)
