"""The numbers of a text, with their units."""

from lowmed.answer.findings.medical_words import UNITS
from lowmed.answer.findings.phrases import LEVEL, sentence_tokens, word_class
from lowmed.answer.lexicon.en import ENGLISH


def quantities(text: str) -> frozenset[tuple[float | str, str]]:
    """Each number of a text with its unit, lengths in mm, and each label such as L4.

    A number word is its number. "One" without a unit does not count, because it is also written as "a".
    """
    result: set[tuple[float | str, str]] = set()
    for tokens in sentence_tokens(text):
        for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
            if LEVEL.fullmatch(token):
                result.add((token, "label"))
            elif word_class(token) == "number":
                dimension, scale = UNITS.get(following, ("", 1.0))
                value = float(ENGLISH.number_words.get(token, token)) * scale
                result |= {(round(value, 6), dimension)} - {(1.0, "")}
    return frozenset(result)
