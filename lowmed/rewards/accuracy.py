"""Whether the answer is right, by the strict reading that evaluation reports."""

from dataclasses import dataclass

from lowmed import answer
from lowmed.rewards.score import Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class Accuracy:
    """1 for a right answer in its tag, else 0.

    `graded` pays a wrong answer to an open question its token-F1 with the gold one, unless it contradicts it.
    """

    graded: bool = False

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        read = answer.read(completion, sample)
        if not read.strict:
            return Score(0.0, f"no single answer tag ({', '.join(read.flags) or read.source})", read.value)
        if read.value is None:
            return Score(0.0, f"unread ({', '.join(read.flags)})")
        if answer.grade(read, sample).strict_outcome == "correct":
            return Score(1.0, "right", read.value)
        if self.graded and sample.kind in ("open", "text"):
            return _overlap(sample, read.value)
        return Score(0.0, "wrong", read.value)


def _overlap(sample: Sample, value: str) -> Score:
    against = answer.contradictions(value, sample.answer)
    if against:
        return Score(0.0, f"contradicts the gold answer ({', '.join(against)})", value)
    return Score(answer.token_f1(value, sample.answer), "token-F1 with the gold answer", value)
