"""The form of the completion: the tags that the prompt requests, none of them empty."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import regex

from lowmed import answer
from lowmed.answer import fields
from lowmed.boxes import parse_boxes
from lowmed.prompt import CompletionFormat
from lowmed.rewards.score import Score
from lowmed.rewards.sentences import sentences
from lowmed.sample import Sample

_TAG = regex.compile(r"</?\s*(?:think(?:ing)?|answer)\s*>", regex.IGNORECASE)
_THINK_TAG = regex.compile(r"</?\s*think(?:ing)?\s*>", regex.IGNORECASE)
_THINK = regex.compile(r"\s*<think>(.*)</think>(.*)", regex.DOTALL)
_THINK_ANSWER = regex.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", regex.DOTALL)
_ANSWER = regex.compile(r"\s*<answer>(.*)</answer>\s*", regex.DOTALL)
_WORD = regex.compile(r"\p{Han}|[^\W_\p{Han}]+")
_MAX_ANSWER_WORDS = 32
_MIN_THOUGHT_WORDS = 3
_MIN_DISTINCT = 1 / 3
MAX_REPORT_LENGTH = 2  # times the words of the reference


@dataclass(frozen=True)
class Format:
    """1 for a completion in the requested form, else 0.

    `think_answer` is one think block and then one answer tag, with nothing else. The think block needs at least three
    different words and must not loop: at least the share `distinct` of its word pairs differ. `answer` is the answer
    tag alone. The answer has at most 32 words, or as many as the gold answer. To a question of kind `json`, it is one
    JSON object or list with at least one filled field, of any length. To one of kind `boxes`, it is boxes or "none". A
    report has at most twice the words of its reference, or 32, and does not repeat itself.
    """

    pays_form: ClassVar[bool] = True
    completion_format: CompletionFormat = "think_answer"
    distinct: float = _MIN_DISTINCT

    def __post_init__(self) -> None:
        if not 0 < self.distinct <= 1:
            raise ValueError("distinct is a share above 0 and at most 1")

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        why = self._fault(sample, completion)
        return Score(0.0, why) if why else Score(1.0, "in form")

    def _fault(self, sample: Sample, completion: str) -> str:
        pattern, tag_count = (_THINK_ANSWER, 4) if self.completion_format == "think_answer" else (_ANSWER, 2)
        match = pattern.fullmatch(completion) if len(_TAG.findall(completion)) == tag_count else None
        if not match:
            return "not exactly the requested tags"
        fault = answer_fault(sample, match[tag_count // 2])
        return fault or (thought_fault(match[1], self.distinct) if self.completion_format == "think_answer" else "")


def answer_fault(sample: Sample, text: str) -> str:
    """Why the text of an answer tag earns nothing; "" if it has the form that the question requests."""
    if sample.kind == "boxes":
        return parse_boxes(text)[1]
    if sample.kind == "json":
        return _json_fault(sample.answer, text)
    answer_words = words(text)
    if not answer_words:
        return "empty answer"
    if sample.kind == "report":
        return report_fault(sample.answer, text)
    too_long = len(answer_words) > max(_MAX_ANSWER_WORDS, len(words(sample.answer)))
    return f"answer of {len(answer_words)} words" if too_long else ""


def report_fault(reference: str, text: str) -> str:
    """Why a report is not in form; "" if it is.

    A report repeats itself if it has a sentence twice, or if fewer than a third of its word pairs differ, unless its
    reference does the same.
    """
    limit = max(_MAX_ANSWER_WORDS, MAX_REPORT_LENGTH * len(words(reference)))
    if len(words(text)) > limit:
        return f"report of {len(words(text))} words, at most {limit}"
    if _distinct_pairs(text) < min(_MIN_DISTINCT, _distinct_pairs(reference)):
        return "report repeats itself"
    if _has_sentence_twice(text) and not _has_sentence_twice(reference):
        return "report has a sentence twice"
    return ""


def _has_sentence_twice(text: str) -> bool:
    parts = [words(part) for part in sentences(text)]
    return len(set(parts)) < len(parts)


def _distinct_pairs(text: str) -> float:
    pairs = list(pairwise(words(text)))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def _json_fault(gold_answer: str, text: str) -> str:
    document, problem = fields.parse(text)
    if document is None:
        return f"no JSON answer: {problem}"
    gold, _ = fields.parse(gold_answer)
    if not document.is_container and (gold is None or gold.is_container):
        return "neither a JSON object nor a list"
    return "no filled field" if not document.leaves and (gold is None or gold.leaves) else ""


@lru_cache(maxsize=64)
def words(text: str) -> tuple[str, ...]:
    """The words of a text, casefolded. Each Chinese character is one word."""
    return tuple(_WORD.findall(text.casefold()))


@lru_cache(maxsize=64)
def thought_fault(thought: str, distinct: float = _MIN_DISTINCT) -> str:
    """Why a think block counts as empty; "" if it does not.

    Args:
        thought: the text of the block.
        distinct: the smallest share of its word pairs that must differ.
    """
    thought_words = words(thought)
    if len(set(thought_words)) < _MIN_THOUGHT_WORDS:
        return "empty think block"
    pairs = list(pairwise(thought_words))
    return "think block repeats itself" if len(set(pairs)) < distinct * len(pairs) else ""


def thought(completion: str) -> str | None:
    """The text of the only think block; None unless it is closed and an answer follows."""
    match = _THINK.fullmatch(completion)
    if not match or _THINK_TAG.search(match[1] + match[2]):
        return None
    return match[1] if answer.extract(match[2]).text else None
