"""Agreement of the reasoning with the reference explanation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import regex

from lowmed import answer
from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.normalize import tokens
from lowmed.prompt import CompletionFormat
from lowmed.rewards import embedding
from lowmed.rewards.format import thought, thought_fault
from lowmed.rewards.overlap import overlap
from lowmed.rewards.score import Need, Score
from lowmed.sample import Sample

_SENTENCE_END = regex.compile(r"[.;!?。；\n]+(?!\d)")
_DENIAL_JOINED = regex.compile(
    rf"(?:,|\b{one_of((*ALL.and_words, *ALL.but_words))}\b)\s*(?={one_of(ALL.denial_openers)}\b)", regex.IGNORECASE
)
# Sentences with a lower token-F1 are about different things and cannot contradict each other.
_MIN_OVERLAP = 0.5
_MAX_SENTENCE_WORDS = 24


@dataclass(frozen=True)
class Reasoning:
    """F1 of the think block with the sample's explanation; 0 if it contradicts the explanation.

    The F1 is one of tokens (`by: lexical`), or of sentences by their embeddings (`by: embedding`, with `model` and
    `calibration`). Rambling lowers precision and a single right word has low recall, so F1 pays neither. Words of the
    question and its options do not count, so an echo earns nothing. The reward abstains on samples without an
    explanation, and if the prompt requests the answer alone. RARL (2506.06600) rewards the quality of the reasoning by
    a formula that was not found; this formula is lowmed's.
    """

    completion_format: CompletionFormat = "think_answer"
    by: Literal["lexical", "embedding"] = "lexical"
    model: str = ""
    calibration: str = ""

    def __post_init__(self) -> None:
        if self.by == "embedding":
            embedding.load_scale(self.calibration, self.model)

    @classmethod
    def needs_with(cls, options: Mapping[str, Any]) -> frozenset[Need]:
        """Requirements of the reward with these options."""
        return frozenset({"embedding"}) if options.get("by") == "embedding" else frozenset()

    def prepare(self, completions: Sequence[tuple[Sample, str]]) -> None:
        """Embed all sentences of a batch together."""
        if self.by == "embedding":
            thoughts = [thought(completion) or "" for _, completion in completions]
            explanations = [sample.explanation for sample, _ in completions]
            embedding.embed(self.model, (part for text in (*thoughts, *explanations) for part in sentences(text)))

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if not answer.normalize(sample.explanation):
            return Score(None, "the sample has no explanation")
        if self.completion_format == "answer":
            return Score(None, "the prompt requests no reasoning")
        text = thought(completion)
        if text is None:
            return Score(0.0, "no single think block before an answer")
        if fault := thought_fault(text):
            return Score(0.0, fault)
        if "noncommittal" in answer.read(completion, sample).flags:
            return Score(0.0, "the answer is a refusal")
        if contradiction := contradicting_sentence(text, sample.explanation):
            return Score(0.0, f"contradicts the explanation: {contradiction!r}")
        if self.by == "lexical":
            return Score(overlap(text, sample.explanation, sample), "token-F1 with the explanation")
        scale = embedding.load_scale(self.calibration, self.model)
        value = embedding.sentence_f1(self.model, scale, sentences(text), sentences(sample.explanation))
        return Score(value, "F1 of sentences with the explanation, by embedding")


def contradicting_sentence(text: str, explanation: str) -> str:
    """The first sentence of the text that states the opposite of the closest sentence of the explanation; else "".

    The contradiction check is made for short texts, so it compares sentence by sentence, and only sentences about the
    same thing. "A mass and no effusion" makes two statements, so its denied part is compared separately too.
    """
    references = [part for sentence in sentences(explanation) for part in {sentence, *_DENIAL_JOINED.split(sentence)}]
    reference_words = frozenset().union(*map(_words, references))
    for sentence in sentences(text):
        if not reference_words.isdisjoint(_words(sentence)) and _contradicts(sentence, references):
            parts = _DENIAL_JOINED.split(sentence)
            unsupported = " ".join(part for part in parts if not _agrees(part, references))
            if len(parts) == 1 or _contradicts(unsupported, references):
                return sentence
    return ""


@lru_cache(maxsize=64)
def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text, without their final punctuation."""
    return tuple(sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip())


@lru_cache(maxsize=8192)
def _words(sentence: str) -> frozenset[str]:
    return frozenset(tokens(answer.normalize(sentence)))


def _closest(sentence: str, references: list[str]) -> tuple[float, bool]:
    """Token-F1 with the closest reference, and whether that one agrees with the sentence on the same subject."""
    scores = [answer.token_f1(sentence, reference) for reference in references]
    closest = max(scores)
    if closest < _MIN_OVERLAP:
        return closest, False
    return closest, any(
        not answer.contradictions(sentence, reference, longest=_MAX_SENTENCE_WORDS)
        for score, reference in zip(scores, references, strict=True)
        if score == closest
    )


def _contradicts(sentence: str, references: list[str]) -> bool:
    overlap, agrees = _closest(sentence, references)
    return overlap >= _MIN_OVERLAP and not agrees


def _agrees(sentence: str, references: list[str]) -> bool:
    overlap, agrees = _closest(sentence, references)
    return overlap >= _MIN_OVERLAP and agrees
