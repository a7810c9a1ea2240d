"""How far the reasoning agrees with the reference explanation."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import regex

from lowmed import answer
from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.normalize import tokens
from lowmed.prompt import CompletionFormat
from lowmed.rewards import embedding
from lowmed.rewards.format import thought, thought_fault
from lowmed.rewards.overlap import overlap
from lowmed.rewards.score import Score
from lowmed.sample import Sample

_SENTENCE_END = regex.compile(r"[.;!?。；\n]+(?!\d)")
_DENIAL_JOINED = regex.compile(
    rf"(?:,|\b{one_of((*ALL.and_words, *ALL.but_words))}\b)\s*(?={one_of(ALL.denial_openers)}\b)", regex.IGNORECASE
)
# Sentences with less in common than this speak of different things, and cannot contradict each other.
_SAME_SUBJECT = 0.5
_LONGEST_SENTENCE_WORDS = 24


@dataclass(frozen=True)
class Reasoning:
    """F1 of the think block with the sample's explanation; 0 where a sentence contradicts it.

    Of tokens (`by: lexical`), or of sentences by their embeddings (`by: embedding`, with `model` and `calibration`).
    F1 pays neither rambling (precision falls) nor a single right word (recall falls), and words that the question or
    its options give do not count, so that an echo earns nothing. Says nothing about samples
    without an explanation, nor where the prompt asks for the answer alone. RARL (2506.06600) rewards the quality of
    the reasoning by a formula that was not found; this one is the toolkit's.
    """

    completion_format: CompletionFormat = "think_answer"
    by: Literal["lexical", "embedding"] = "lexical"
    model: str = ""
    calibration: str = ""

    def __post_init__(self) -> None:
        if self.by == "embedding":
            embedding.calibration(self.calibration, self.model)

    def prepare(self, asked: Sequence[tuple[Sample, str]]) -> None:
        """Embed all sentences of a batch at once."""
        if self.by == "embedding":
            said = [thought(completion) or "" for _, completion in asked]
            explained = [sample.explanation for sample, _ in asked]
            embedding.embed(self.model, (part for text in (*said, *explained) for part in sentences(text)))

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if not answer.normalize(sample.explanation):
            return Score(None, "the sample has no explanation")
        if self.completion_format == "answer":
            return Score(None, "the prompt asks for no reasoning")
        text = thought(completion)
        if text is None:
            return Score(0.0, "no single think block before an answer")
        if fault := thought_fault(text):
            return Score(0.0, fault)
        if "noncommittal" in answer.read(completion, sample).flags:
            return Score(0.0, "reasons, and refuses to answer")
        against = contradicted(text, sample.explanation)
        if against:
            return Score(0.0, f"contradicts the explanation: {against!r}")
        if self.by == "lexical":
            return Score(overlap(text, sample.explanation, sample), "token-F1 with the explanation")
        scale = embedding.calibration(self.calibration, self.model)
        value = embedding.agreement(self.model, scale, sentences(text), sentences(sample.explanation))
        return Score(value, "F1 of sentences, by embedding, with the explanation")


def contradicted(text: str, explanation: str) -> str:
    """The first sentence of the text that says the opposite of the explanation's closest sentence, or nothing.

    The gate judges short texts, so it is applied sentence by sentence, and only to sentences on the same subject.
    "A mass and no effusion" says two things: what it denies is compared by itself where the explanation denies it too.
    """
    references = [part for sentence in sentences(explanation) for part in {sentence, *_DENIAL_JOINED.split(sentence)}]
    named = frozenset().union(*map(_words, references))
    for sentence in sentences(text):
        if not named.isdisjoint(_words(sentence)) and _against(sentence, references):
            parts = _DENIAL_JOINED.split(sentence)
            rest = " ".join(part for part in parts if not _supported(part, references))
            if len(parts) == 1 or _against(rest, references):
                return sentence
    return ""


@lru_cache(maxsize=64)
def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text, without their ends."""
    return tuple(sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip())


@lru_cache(maxsize=8192)
def _words(sentence: str) -> frozenset[str]:
    return frozenset(tokens(answer.normalize(sentence)))


def _closest(sentence: str, references: list[str]) -> tuple[float, bool]:
    """Overlap with the closest reference, and whether the two agree where they are on the same subject."""
    overlaps = [answer.token_f1(sentence, reference) for reference in references]
    closest = max(overlaps)
    if closest < _SAME_SUBJECT:
        return closest, False
    return closest, any(
        not answer.contradictions(sentence, reference, longest=_LONGEST_SENTENCE_WORDS)
        for overlap, reference in zip(overlaps, references, strict=True)
        if overlap == closest
    )


def _against(sentence: str, references: list[str]) -> bool:
    overlap, agrees = _closest(sentence, references)
    return overlap >= _SAME_SUBJECT and not agrees


def _supported(sentence: str, references: list[str]) -> bool:
    overlap, agrees = _closest(sentence, references)
    return overlap >= _SAME_SUBJECT and agrees
