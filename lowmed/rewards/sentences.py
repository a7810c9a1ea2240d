"""Splits a text into sentences."""

from functools import lru_cache

import regex

_SENTENCE_END = regex.compile(r"[.;!?。；\n]+(?!\d)")


@lru_cache(maxsize=64)
def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text, without their final punctuation."""
    return tuple(sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip())
