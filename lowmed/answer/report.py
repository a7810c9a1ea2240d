"""Reads a radiology report from a completion, and compares it with a reference report by words and by findings."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import fsum

from lowmed.answer.extract import extract
from lowmed.answer.findings import MODALITY, Fact, Finding, is_english, read_findings

_WORD = re.compile(r"\w")
# What de-identification leaves in place of a name, a date or a place: XXXX in Open-i, ___ in MIMIC-CXR.
_MASK = re.compile(r"X{2,}|_{2,}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?!\d)")
_SAME = {"pathology": "abnormality"}  # "no acute disease" and "no acute abnormality" state the same of an image
_SHAPES = frozenset(("size", "contour", "silhouette", "appearance"))  # nouns that describe the part of the body in them
Share = Callable[[Fact], float]


def read_report(text: str) -> tuple[str | None, str]:
    """A report with white space as single spaces; None and the problem if it has no word."""
    report = " ".join(text.split())
    return (report, "") if _WORD.search(_MASK.sub(" ", report)) else (None, "empty")


def report_of(completion: str, finish_reason: str = "stop") -> str:
    """The report of a completion with its line ends; "" if there is none. Text in a think block is not a report."""
    extracted = extract(completion, finish_reason)
    text = extracted.tail or extracted.text or ""
    return text if read_report(text)[0] is not None else ""


def require_words(report: str) -> None:
    """Refuse a reference report that has no words, or only marks of de-identification such as XXXX.

    Raises:
        ValueError: it has none.
    """
    if not report.strip():
        raise ValueError("the report is empty")
    if read_report(report)[0] is None:
        raise ValueError("the report has no words, or only marks of de-identification")


def without_masked_sentences(text: str) -> str:
    """A report without the sentences in which de-identification left a mark such as XXXX, which no image shows."""
    lines = (" ".join(part for part in _SENTENCE.split(line) if not _MASK.search(part)) for line in text.splitlines())
    return "\n".join(line.strip() for line in lines).strip()


@dataclass(frozen=True, slots=True)
class Statements:
    """What a report states about findings.

    Attributes:
        facts: each single statement with whether it is certain: a finding with its polarity, or one property of it.
        disordered: words that state nothing because their order makes no sentence.
    """

    facts: Mapping[Fact, bool]
    disordered: int = 0


@dataclass(frozen=True, slots=True)
class StatementCounts:
    """Statements of a predicted and of a reference report, and those that both share, as a sum of their weights."""

    shared: float
    predicted: float
    reference: float

    @property
    def precision(self) -> float:
        """Share of the predicted statements that the reference makes too."""
        return self.shared / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the reference's statements that were predicted."""
        return self.shared / self.reference if self.reference else 0.0

    @property
    def f1(self) -> float:
        """2 x shared / (predicted + reference)."""
        size = self.predicted + self.reference
        return 2 * self.shared / size if size else 0.0


@lru_cache(maxsize=8192)
def read_statements(text: str) -> Statements | None:
    """The statements of an English report; None for another language, whose findings are not read.

    A statement is a finding of the lexicon that is present or absent, or a side, place, property, number or size of a
    finding or of anatomy. Properties belong to a place, so that exchanging the sizes of two lesions is an error. The
    mention of a modality or of anatomy alone states nothing.
    """
    if not is_english(text):
        return None
    reading = read_findings(text)
    facts: dict[Fact, bool] = {}
    for finding in reading.findings:
        for fact in _facts(finding):
            facts[fact] = facts.get(fact, False) or not finding.hedged
    return Statements(facts, reading.disordered)


def _facts(finding: Finding) -> Iterable[Fact]:
    if finding.kind == "modality":
        return
    name = _SAME.get(finding.name, finding.name)
    subject: Fact = (name, finding.denied and finding.kind != "anatomy")
    spots: Fact = tuple(sorted(place for place in finding.places if " " in place)) or tuple(sorted(finding.sides))
    properties = sorted(finding.properties)
    if name == "heart":
        yield from (("cardiomegaly", denied) for value, denied in properties if value == "enlarged")
        properties = [(value, denied) for value, denied in properties if value != "enlarged"]
    if finding.kind == "finding":
        yield subject
    if name in _SHAPES and finding.places:  # "the size of the heart is normal"
        yield from ((place, False, "is", *one) for place in sorted(finding.places) for one in properties)
        return
    if finding.kind != "anatomy":  # "the left lung" alone says nothing
        yield from ((*subject, "side", side) for side in sorted(finding.sides))
        yield from ((*subject, "place", place) for place in sorted(finding.places))
    yield from ((*subject, "is", value, denied, *spots) for value, denied in properties)
    if finding.count is not None and finding.count != 1:  # "one" is also written as "a"
        yield (*subject, "count", finding.count, *spots)
    yield from ((*subject, dimension, size, *spots) for dimension, size in sorted(finding.measures))


def count_statements(reference: Statements, predicted: Statements, share: Share = lambda _: 0.0) -> StatementCounts:
    """Count the statements of two reports and those that they share.

    With `share`, a statement weighs 1 minus its share, and one that the reference lacks lowers what is shared by its
    share. So a text that does not depend on the image has an expected value of 0, however many places it lists.

    A statement that only one of the two hedges counts half. A finding that the predicted report states both as present
    and as absent, and the reference only as one of them, is not shared. Words without the order of a sentence count as
    predicted statements.

    Args:
        reference: the reference report.
        predicted: the report to score.
        share: the share of all reports that make a statement.
    """
    undecided = {
        fact
        for fact in predicted.facts
        if (opposite := _opposite(fact)) in predicted.facts and opposite not in reference.facts
    }
    right = {fact for fact in predicted.facts if fact in reference.facts and fact[:2] not in undecided}
    certain = {fact: 1.0 if predicted.facts[fact] == reference.facts[fact] else 0.5 for fact in right}
    shared = fsum((1 - share(fact)) * weight for fact, weight in certain.items())  # equal in any order of the facts
    chance = fsum(share(fact) for fact in predicted.facts if fact not in right)
    extra = max(0, predicted.disordered - reference.disordered)
    stated, expected = (fsum(1 - share(fact) for fact in one.facts) for one in (predicted, reference))
    return StatementCounts(max(0.0, shared - chance), stated + extra, expected)


def _opposite(fact: Fact) -> Fact | None:
    """The denial of a present finding, or the reverse; None for other statements."""
    return (fact[0], not fact[1]) if len(fact) == 2 and fact[0] != MODALITY else None
