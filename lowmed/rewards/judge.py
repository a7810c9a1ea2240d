"""Whether an open answer is right, by rule where rules can tell, else by a judge."""

from collections.abc import Sequence
from dataclasses import dataclass

from lowmed import answer
from lowmed.judge import ANSWER, Judge, Query
from lowmed.rewards.score import Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class JudgeReward:
    """1 for an answer in its tag that says the same as the gold one, else 0.

    Only the answer is judged, never the reasoning around it. Closed questions, choices and JSON are graded by the
    reader alone. Where the judge gives no verdict, the reward has nothing to say.
    """

    judge: Judge

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        read = answer.read(completion, sample)
        result = answer.extract(completion)
        if not read.strict or result.text is None:
            return Score(0.0, f"no single answer tag ({', '.join(read.flags) or read.source})", read.value)
        if read.value is None:
            return Score(0.0, f"unread ({', '.join(read.flags)})")
        if answer.grade(read, sample).strict_outcome == "correct":
            return Score(1.0, "right", read.value)
        query = self._query(sample, completion)
        if query is None:
            return Score(0.0, "wrong", read.value)
        verdict = self.judge.ask(query)
        if verdict.value is None:
            return Score(None, f"no verdict: {verdict.why}", read.value)
        return Score(float(verdict.value), f"{verdict.by}: {verdict.why}", read.value)

    def prepare(self, asked: Sequence[tuple[Sample, str]]) -> None:
        """Have the answers of a batch judged together, so that scoring it one by one needs no call.

        Raises:
            RunError, SetupError: the judge fails too often, or refuses.
        """
        self.judge.ask_all(filter(None, (self._query(sample, completion) for sample, completion in asked)))

    def _query(self, sample: Sample, completion: str) -> Query | None:
        """What the judge would be asked, where only it can tell."""
        read, result = answer.read(completion, sample), answer.extract(completion)
        if sample.kind not in ("open", "text") or not read.strict or read.value is None or result.text is None:
            return None
        return Query(ANSWER, sample.question, (sample.answer,), result.text)
