"""The words of every language that the answer reader understands, one file a language.

To add a language, write its file and add it to `LEXICONS`.
"""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from lowmed.answer.lexicon.en import ENGLISH
from lowmed.answer.lexicon.lexicon import Lexicon, Spelling
from lowmed.answer.lexicon.zh import CHINESE

__all__ = ["ALL", "LEXICONS", "Lexicon", "Spelling", "merge", "one_of"]

LEXICONS = (ENGLISH, CHINESE)


def merge(lexicons: Iterable[Lexicon]) -> Lexicon:
    """One lexicon with the entries of all; where languages differ in word edges or opening ends, use `LEXICONS`."""
    first, *rest = lexicons
    merged: dict[str, Any] = {item.name: getattr(first, item.name) for item in fields(Lexicon)}
    for lexicon in rest:
        for name, value in merged.items():
            added = getattr(lexicon, name)
            if isinstance(value, tuple):
                merged[name] = value + added
            elif isinstance(value, dict):
                merged[name] = value | added
    return Lexicon(**{**merged, "language": "all"})


def one_of(entries: Iterable[str]) -> str:
    """A regular expression that matches any one of the entries, and nothing if there are none."""
    alternatives = "|".join(entries)
    return f"(?:{alternatives})" if alternatives else "(?!)"


ALL = merge(LEXICONS)
