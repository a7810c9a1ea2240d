"""Whether the completion has the form that its prompt asks for, with something in it."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import regex

from lowmed import answer
from lowmed.prompt import CompletionFormat
from lowmed.rewards.score import Score
from lowmed.sample import Sample

_TAG = regex.compile(r"</?\s*(?:think(?:ing)?|answer)\s*>", regex.IGNORECASE)
_THINK_TAG = regex.compile(r"</?\s*think(?:ing)?\s*>", regex.IGNORECASE)
_THINK = regex.compile(r"\s*<think>(.*)</think>(.*)", regex.DOTALL)
_THINK_ANSWER = regex.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", regex.DOTALL)
_ANSWER = regex.compile(r"\s*<answer>(.*)</answer>\s*", regex.DOTALL)
_WORD = regex.compile(r"\p{Han}|[^\W_\p{Han}]+")
_LONGEST_ANSWER_TOKENS = 32
_FEWEST_WORDS = 3


@dataclass(frozen=True)
class Format:
    """1 for a completion in its form, else 0.

    `think_answer` is one think block with at least three different words that do not go round in a loop, then one
    answer tag of at most 32 words (or as many as the gold answer has), and nothing else; `answer` is the tag alone.
    """

    completion_format: CompletionFormat = "think_answer"

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        why = self._fault(sample, completion)
        return Score(0.0, why) if why else Score(1.0, "in form")

    def _fault(self, sample: Sample, completion: str) -> str:
        form, count = (_THINK_ANSWER, 4) if self.completion_format == "think_answer" else (_ANSWER, 2)
        match = form.fullmatch(completion) if len(_TAG.findall(completion)) == count else None
        if not match:
            return "not exactly the tags that were asked for"
        said = words(match[count // 2])
        if not said:
            return "empty answer"
        if len(said) > max(_LONGEST_ANSWER_TOKENS, len(words(sample.answer))):
            return f"answer of {len(said)} words"
        return thought_fault(match[1]) if self.completion_format == "think_answer" else ""


@lru_cache(maxsize=64)
def words(text: str) -> tuple[str, ...]:
    """The words of a text, casefolded; a Chinese character is one."""
    return tuple(_WORD.findall(text.casefold()))


@lru_cache(maxsize=64)
def thought_fault(thought: str) -> str:
    """What makes a think block count as empty, or nothing."""
    said = words(thought)
    if len(set(said)) < _FEWEST_WORDS:
        return "empty think block"
    pairs = list(pairwise(said))
    return "think block repeats itself" if len(set(pairs)) * 3 < len(pairs) else ""


def thought(completion: str) -> str | None:
    """The text of the only think block, where it is closed and an answer follows it; else None."""
    match = _THINK.fullmatch(completion)
    if not match or _THINK_TAG.search(match[1] + match[2]):
        return None
    return match[1] if answer.extract(match[2]).text else None
