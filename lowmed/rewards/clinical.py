"""Clinical logic of the reasoning, by a judge: the medical semantic alignment of Zhu et al. 2025."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lowmed.judge import CLINICAL, Judge, Query, Rubric
from lowmed.prompt import CompletionFormat
from lowmed.rewards.format import thought, thought_fault
from lowmed.rewards.score import Need, Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class Clinical:
    """1 for a think block whose reasoning is sound and leads to the gold answer, else 0.

    Zhu et al. (arXiv:2505.13973) give 1 if a language model finds that the reasoning meets the standard. Their prompt
    is not published, so the rubric is lowmed's. The reward abstains if the prompt requests the answer alone, and if the
    judge returns no verdict.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"judge"})
    rubric: ClassVar[Rubric] = CLINICAL
    judge: Judge
    completion_format: CompletionFormat = "think_answer"

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if self.completion_format == "answer":
            return Score(None, "the prompt requests no reasoning")
        text = thought(completion)
        if text is None:
            return Score(0.0, "no single think block before an answer")
        if fault := thought_fault(text):
            return Score(0.0, fault)
        verdict = self.judge.ask(self._query(sample, text))
        if verdict.value is None:
            return Score(None, f"no verdict: {verdict.why}")
        return Score(float(verdict.value), f"{verdict.by}: {verdict.why}")

    def prepare(self, completions: Sequence[tuple[Sample, str]]) -> None:
        """Judge the reasoning of a batch concurrently, so that scoring makes no call.

        Raises:
            RunError, SetupError: the judge fails too often, or rejects the request.
        """
        if self.completion_format == "answer":
            return
        thoughts = ((sample, thought(completion)) for sample, completion in completions)
        self.judge.ask_all(self._query(sample, text) for sample, text in thoughts if text and not thought_fault(text))

    def _query(self, sample: Sample, text: str) -> Query:
        return Query(self.rubric, sample.question, (sample.answer,), text)
