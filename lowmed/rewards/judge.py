"""Correctness of an open answer, by rule if a rule decides it, else by a judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lowmed import answer
from lowmed.judge import ANSWER, Judge, Query, Rubric
from lowmed.rewards.accuracy import RIGHT_OR_WRONG
from lowmed.rewards.score import Need, Score
from lowmed.sample import Kind, Sample


@dataclass(frozen=True)
class JudgeReward:
    """1 for an answer in its tag that means the same as the gold answer, else 0.

    The judge receives the answer and never the reasoning. The reader alone grades closed questions, choices and JSON.
    The reward abstains if the judge returns no verdict, and on reports, to which the rubric does not apply.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"judge"})
    kinds: ClassVar[tuple[Kind, ...]] = RIGHT_OR_WRONG
    rubric: ClassVar[Rubric] = ANSWER
    judge: Judge

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if sample.kind == "report":
            return Score(None, "the rubric is about a single answer, not a report")
        read = answer.read(completion, sample)
        if not read.strict or answer.extract(completion).text is None:
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

    def prepare(self, completions: Sequence[tuple[Sample, str]]) -> None:
        """Judge the answers of a batch concurrently, so that scoring makes no call.

        Raises:
            RunError, SetupError: the judge fails too often, or rejects the request.
        """
        self.judge.ask_all(filter(None, (self._query(sample, completion) for sample, completion in completions)))

    def _query(self, sample: Sample, completion: str) -> Query | None:
        """The query to the judge; None if the rules decide."""
        read, extracted = answer.read(completion, sample), answer.extract(completion)
        if sample.kind not in ("open", "text") or not read.strict or read.value is None or extracted.text is None:
            return None
        return Query(self.rubric, sample.question, (sample.answer,), extracted.text)
