"""Detects answers that state the opposite of the gold answer: the other side, the other polarity, or an antonym."""

import re

from lowmed.answer.lexicon import ALL, LEXICONS, one_of
from lowmed.answer.normalize import normalize

_NEGATION = re.compile(
    "|".join(f"{lexicon.word_edge}{one_of(lexicon.negations)}{lexicon.word_edge}" for lexicon in LEXICONS)
)


def contradictions(prediction: str, gold: str, longest: int = 12) -> tuple[str, ...]:
    """The ways in which a prediction contradicts the gold answer, out of `laterality`, `polarity` and `antonym`.

    The check compares words. It vetoes graded scores and never decides an outcome. A gold answer of more than
    `longest` words, or one that names both left and right, makes several statements and is not checked.
    """
    prediction, gold = normalize(prediction), normalize(gold)
    predicted, expected = set(prediction.split()), set(gold.split())
    if not predicted or not expected or len(gold.split()) > longest or len(_named_sides(expected)) > 1:
        return ()
    result = []
    predicted_sides, expected_sides = _sides(predicted), _sides(expected)
    if predicted_sides and expected_sides and predicted_sides != expected_sides:
        result.append("laterality")
    if bool(_NEGATION.search(prediction)) != bool(_NEGATION.search(gold)):
        result.append("polarity")
    if any(_are_opposed(predicted, expected, group) for group in ALL.opposites) or _prefixes_differ(
        predicted, expected
    ):
        result.append("antonym")
    return tuple(result)


def _named_sides(words: set[str]) -> set[str]:
    return {side for side, names in (("left", ALL.left), ("right", ALL.right)) if not words.isdisjoint(names)}


def _sides(words: set[str]) -> set[str]:
    return _named_sides(words) if words.isdisjoint(ALL.both_sides) else {"left", "right"}


def _are_opposed(predicted: set[str], expected: set[str], group: tuple[str, ...]) -> bool:
    expected_words = expected.intersection(group)
    return len(expected_words) == 1 and not predicted & expected_words and not predicted.isdisjoint(group)


def _prefixes_differ(predicted: set[str], expected: set[str]) -> bool:
    def prefixes(words: set[str]) -> set[str]:
        return {prefix for prefix in ALL.opposite_prefixes for word in words if word.startswith(prefix)}

    return len(prefixes(expected)) == 1 and bool(prefixes(predicted)) and not prefixes(predicted) & prefixes(expected)
