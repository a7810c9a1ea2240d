"""The words of every language that the answer reader understands, one file a language.

To add a language, write its file and add it to `LEXICONS`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from lowmed.answer.lexicon.ar import ARABIC
from lowmed.answer.lexicon.de import GERMAN
from lowmed.answer.lexicon.en import ENGLISH
from lowmed.answer.lexicon.es import SPANISH
from lowmed.answer.lexicon.fr import FRENCH
from lowmed.answer.lexicon.it import ITALIAN
from lowmed.answer.lexicon.ja import JAPANESE
from lowmed.answer.lexicon.lexicon import Lexicon, Spelling
from lowmed.answer.lexicon.pt import PORTUGUESE
from lowmed.answer.lexicon.zh import CHINESE

__all__ = ["ALL", "LEXICONS", "Lexicon", "Spelling", "merge", "one_of"]

LEXICONS = (ENGLISH, CHINESE, SPANISH, FRENCH, GERMAN, PORTUGUESE, ITALIAN, JAPANESE, ARABIC)


def merge(lexicons: Iterable[Lexicon]) -> Lexicon:
    """One lexicon with the entries of all; where languages differ in word edges or opening ends, use `LEXICONS`."""
    names = [item.name for item in fields(Lexicon)]
    merged, *rest = lexicons
    for lexicon in rest:
        merged = Lexicon(**{name: _joined(getattr(merged, name), getattr(lexicon, name)) for name in names})
    return replace(merged, language="all")


def _joined(entries: Any, added: Any) -> Any:
    """Both values of a field; a name of both mappings keeps the entries of both."""
    if isinstance(entries, tuple):
        return entries + added
    if isinstance(entries, Mapping):
        common = {name: _joined(entries[name], added[name]) for name in entries.keys() & added.keys()}
        return {**entries, **added, **common}
    return entries


def one_of(entries: Iterable[str]) -> str:
    """A regular expression that matches any one of the entries, and nothing if there are none."""
    alternatives = "|".join(entries)
    return f"(?:{alternatives})" if alternatives else "(?!)"


ALL = merge(LEXICONS)
