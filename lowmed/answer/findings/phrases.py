"""Splits an English text into sentences, words with their classes, and phrases, for reading findings."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from lowmed.answer.findings import function_words, medical_words
from lowmed.answer.lexicon.en import ENGLISH

Kind = Literal["finding", "anatomy", "other", "modality"]

MAX_PHRASE_WORDS = 7  # a longer run of words without function words is a list of words, and not a phrase
_REWRITES = tuple((re.compile(pattern), replacement) for pattern, replacement in function_words.REWRITES)
LEVEL = re.compile(r"[a-z]\d{1,2}")  # levels of the spine and similar labels, such as L4
_LIST_NUMBER = re.compile(r"(?:^|(?<=\s))\d+[.)]\s")
_SENTENCE_END = re.compile(r"[.;!?。；\n]+(?!\d)")
_TOKEN = re.compile(r"\d+(?:\.\d+)?(?![\w.])|%|\w+|[,:()]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_ATTRIBUTES = {**medical_words.PROPERTIES, **medical_words.PLANES, **{word: word for word in medical_words.SEQUENCES}}
_REGIONS = frozenset(medical_words.REGIONS.values())


@lru_cache(maxsize=64)  # each text is read for its language and for its findings
def sentence_tokens(text: str) -> tuple[list[str], ...]:
    """The words, numbers and commas of each sentence of a text."""
    text = _LIST_NUMBER.sub(". ", text.lower().replace("’", "'"))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    parts = (_TOKEN.findall(part.replace("-", " ")) for part in _SENTENCE_END.split(text))
    return tuple(tokens for tokens in parts if tokens)


@lru_cache(maxsize=16384)
def word_class(token: str) -> str:
    """The class of a token: what it does to a phrase."""
    for name, members in _CLASSES:
        if token in members:
            return name
    if token in ENGLISH.number_words or _NUMBER.fullmatch(token):
        return "number"
    if len(token) > 4 and token.endswith("ly") and not token.endswith(("megaly", "anomaly")):
        return "transparent"
    return "content"


_CLASSES: tuple[tuple[str, frozenset[str]], ...] = (
    ("comma", frozenset(",:()")),
    ("determiner", function_words.DETERMINERS),
    ("and", function_words.AND_WORDS),
    ("or", function_words.OR_WORDS),
    ("denial", function_words.DENIALS),
    ("denied_after", function_words.DENIED_AFTER),
    ("place", function_words.PLACE_WORDS),
    ("preposition", function_words.OTHER_PREPOSITIONS),
    ("copula", function_words.COPULAS),
    ("verb", function_words.VERBS),
    ("query", function_words.QUERIES),
    ("generality", function_words.GENERALITIES),
    ("hedge", function_words.HEDGES),
    ("scope_end", function_words.SCOPE_ENDS),
    ("transparent", function_words.TRANSPARENT | function_words.OTHER_FUNCTION_WORDS),
)


@lru_cache(maxsize=16384)
def stem_of(token: str) -> str:
    """The singular of a word, by its ending."""
    if token in medical_words.IRREGULAR_PLURALS:
        return medical_words.IRREGULAR_PLURALS[token]
    if len(token) < 4 or token in medical_words.NOT_PLURAL or token.endswith(("ss", "us", "is")):
        return token
    if token.endswith("ies") and len(token) > 4:
        return f"{token[:-3]}y"
    if token.endswith(("ases", "oses", "eses")) and len(token) > 6:
        return f"{token[:-2]}is"
    if token.endswith(("sses", "xes", "ches", "shes")):
        return token[:-2]
    return token[:-1] if token.endswith("s") else token


def is_known(stem: str) -> bool:
    """Whether the lexicon has a word as a finding, anatomy, a modality or a property."""
    return any(
        stem in entries
        for entries in (medical_words.FINDINGS, medical_words.ANATOMY, medical_words.MODALITIES, _ATTRIBUTES)
    )


@dataclass
class Phrase:
    """A run of content words: the noun that names it, and what describes the noun."""

    name: str = ""
    kind: Kind = "other"
    sides: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    properties: set[str] = field(default_factory=set)
    count: float | None = None
    measures: set[tuple[str, float]] = field(default_factory=set)
    modalities: list[str] = field(default_factory=list)
    disordered: int = 0
    is_generic: bool = False  # the noun is one of every description, such as "appearance"

    @property
    def is_attribute(self) -> bool:
        """Whether the phrase has no noun, so that it describes another one."""
        return not self.name and not self.is_empty

    @property
    def is_weak(self) -> bool:
        """Whether the noun only carries a side or a region, as in "the left side"."""
        return self.name in medical_words.WEAK_NOUNS and bool(self.sides or self.places)

    def values(self) -> set[str]:
        """All that the phrase says of another noun, as words."""
        count = set() if self.count is None else {f"{self.count:g}"}
        return self.sides | self.places | self.properties | count

    def describe_only(self) -> None:
        """Turn the noun, which is an adjective that the lexicon lacks, into a property."""
        if self.name and self.name not in medical_words.WEAK_NOUNS:
            self.properties.add(self.name)
            self.name = ""

    @property
    def is_empty(self) -> bool:
        """Whether the phrase says nothing."""
        has_number = self.count is not None or bool(self.measures)
        return not (self.name or self.sides or self.places or self.properties or has_number)


def read_phrase(run: list[str]) -> Phrase:
    """Read a run of content words: its last noun, and what describes that noun."""
    phrase = Phrase()
    stems: list[str] = []
    for index, token in enumerate(run):
        if token in medical_words.UNITS:
            continue
        if word_class(token) == "number":
            value = float(ENGLISH.number_words.get(token, 0) if token in ENGLISH.number_words else token)
            unit = medical_words.UNITS.get(run[index + 1]) if index + 1 < len(run) else None
            if unit:
                phrase.measures.add((unit[0], round(value * unit[1], 6)))
            else:
                phrase.count = value
        elif (stem := stem_of(token)) in medical_words.MODALITIES:
            phrase.modalities.append(medical_words.MODALITIES[stem])
        elif stem not in function_words.GENERIC and token not in function_words.GENERIC:
            stems.append(stem)
    last = stem_of(run[-1])
    if last in function_words.GENERIC and not any(_is_noun(stem) for stem in stems):
        if stems and last in function_words.SPOTS:
            stems.append("area")  # "a bright area"
        elif last not in function_words.SPOTS:  # "obvious signs", "normal appearance"
            stems = [stem for stem in stems if is_known(stem) or stem in medical_words.SIDES]
            phrase.is_generic = True
    if len(stems) > MAX_PHRASE_WORDS or len(set(stems)) < len(stems):
        return Phrase(modalities=phrase.modalities, disordered=len(stems))
    head = _head(stems)
    if head is not None and _has_trailing_adjective(stems[:head]):
        return Phrase(modalities=phrase.modalities, disordered=len(stems))
    if head is not None:
        stem = stems[head]
        phrase.name = medical_words.FINDINGS.get(stem) or medical_words.ANATOMY.get(stem) or stem
        phrase.kind = (
            "finding" if stem in medical_words.FINDINGS else "anatomy" if stem in medical_words.ANATOMY else "other"
        )
        phrase.disordered = sum(is_attribute(stem) for stem in stems[head + 1 :])
    before = stems if head is None else stems[:head]
    for stem in before:
        if stem in medical_words.SIDES:
            phrase.sides.add(medical_words.SIDES[stem])
        elif stem in medical_words.REGIONS:
            phrase.places.add(medical_words.REGIONS[stem])
        elif stem in medical_words.ANATOMY:
            phrase.places.add(medical_words.ANATOMY[stem])
        else:
            phrase.properties.add(_ATTRIBUTES.get(stem, medical_words.FINDINGS.get(stem, stem)))
    if phrase.sides and phrase.places & _REGIONS:
        phrase.places.add(" ".join(sorted(phrase.places & _REGIONS) + sorted(phrase.sides)))
    return phrase


def _is_noun(stem: str) -> bool:
    return stem in medical_words.FINDINGS or stem in medical_words.ANATOMY


def is_attribute(stem: str) -> bool:
    """Whether a word is a side, a region or a property."""
    if stem in medical_words.SIDES or stem in medical_words.REGIONS or stem in _ATTRIBUTES:
        return True
    if LEVEL.fullmatch(stem):
        return True
    return stem.endswith("ed") and stem not in medical_words.FINDINGS  # "surrounded"


def _has_trailing_adjective(stems: list[str]) -> bool:
    """Whether a finding stands before one of its adjectives, as in "mass left", which no phrase has before its noun."""
    findings = [index for index, stem in enumerate(stems) if stem in medical_words.FINDINGS]
    return bool(findings) and any(is_attribute(stem) for stem in stems[findings[0] + 1 :])


def _head(stems: list[str]) -> int | None:
    """The index of the noun: the last finding, else the last noun, or the one before a weak noun; None without one."""
    nouns = [index for index, stem in enumerate(stems) if not is_attribute(stem)]
    if findings := [index for index in nouns if stems[index] in medical_words.FINDINGS]:
        return findings[-1]
    if not nouns:
        return None
    last = nouns[-1]
    return last - 1 if stems[last] in medical_words.WEAK_NOUNS and last - 1 in nouns else last
