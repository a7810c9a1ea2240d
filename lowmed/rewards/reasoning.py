"""How far the reasoning agrees with the reference explanation."""

from dataclasses import dataclass

import regex

from lowmed import answer
from lowmed.prompt import ReplyForm
from lowmed.rewards.format import thought, thought_fault
from lowmed.rewards.score import Score
from lowmed.sample import Sample

_SENTENCE_END = regex.compile(r"[.;!?。；\n]+(?!\d)")
# Sentences with less in common than this speak of different things, and cannot contradict each other.
_SAME_SUBJECT = 0.5
_LONGEST_SENTENCE_WORDS = 24


@dataclass(frozen=True)
class Reasoning:
    """Token-F1 of the think block with the sample's explanation; 0 where a sentence contradicts it; lexical.

    F1 pays neither rambling (precision falls) nor a single right word (recall falls). Says nothing about samples
    without an explanation, nor where the prompt asks for the answer alone.
    """

    reply: ReplyForm = "think_answer"

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if not sample.explanation.strip():
            return Score(None, "the sample has no explanation")
        if self.reply == "answer":
            return Score(None, "the prompt asks for no reasoning")
        text = thought(completion)
        if text is None:
            return Score(0.0, "no single think block before an answer")
        if fault := thought_fault(text):
            return Score(0.0, fault)
        against = contradicted(text, sample.explanation)
        if against:
            return Score(0.0, f"contradicts the explanation: {against!r}")
        return Score(answer.token_f1(text, sample.explanation), "token-F1 with the explanation")


def contradicted(text: str, explanation: str) -> str:
    """The first sentence of the text that says the opposite of the explanation's closest sentence, or nothing.

    The gate judges short texts, so it is applied sentence by sentence, and only to sentences on the same subject.
    """
    references = [part for part in _SENTENCE_END.split(explanation) if part.strip()]
    for sentence in _SENTENCE_END.split(text):
        rated = [
            (
                answer.token_f1(sentence, reference),
                not answer.contradictions(sentence, reference, _LONGEST_SENTENCE_WORDS),
            )
            for reference in references
        ]
        overlap, agrees = max(rated, default=(0.0, True))
        if overlap >= _SAME_SUBJECT and not agrees:
            return sentence.strip()
    return ""
