"""Whether the reasoning follows clinical logic, by a judge (the medical semantic alignment of Zhu et al. 2025)."""

from collections.abc import Sequence
from dataclasses import dataclass

from lowmed.judge import CLINICAL, Judge, Query
from lowmed.prompt import CompletionFormat
from lowmed.rewards.format import thought, thought_fault
from lowmed.rewards.score import Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class Clinical:
    """1 for a think block whose reasoning is sound and leads to the gold answer, else 0.

    Zhu et al. (arXiv:2505.13973) give 1 where a language model finds that the reasoning meets the standard; their
    prompt is not published, so the rubric is the toolkit's own. Says nothing where the prompt asks for the answer
    alone, nor where the judge gives no verdict.
    """

    judge: Judge
    completion_format: CompletionFormat = "think_answer"

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if self.completion_format == "answer":
            return Score(None, "the prompt asks for no reasoning")
        text = thought(completion)
        if text is None:
            return Score(0.0, "no single think block before an answer")
        if fault := thought_fault(text):
            return Score(0.0, fault)
        verdict = self.judge.ask(_query(sample, text))
        if verdict.value is None:
            return Score(None, f"no verdict: {verdict.why}")
        return Score(float(verdict.value), f"{verdict.by}: {verdict.why}")

    def prepare(self, asked: Sequence[tuple[Sample, str]]) -> None:
        """Have the reasoning of a batch judged together, so that scoring it one by one needs no call.

        Raises:
            RunError, SetupError: the judge fails too often, or refuses.
        """
        if self.completion_format == "answer":
            return
        thoughts = ((sample, thought(completion)) for sample, completion in asked)
        self.judge.ask_all(_query(sample, text) for sample, text in thoughts if text and not thought_fault(text))


def _query(sample: Sample, text: str) -> Query:
    return Query(CLINICAL, sample.question, (sample.answer,), text)
