"""A finding of a text, and the single facts that it states."""

from collections.abc import Iterable
from dataclasses import dataclass

from lowmed.answer.findings.phrases import Kind

# These begin the facts that a text names a part of the body or a modality, which is no finding yet.
PART, MODALITY = "part", "modality"
Fact = tuple[str | bool | float, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a text.

    Attributes:
        name: the canonical noun; "" if the text describes the image without a noun ("normal").
        kind: whether the lexicon has the noun as a finding, as anatomy or as a modality.
        denied: whether the text denies it.
        hedged: whether the text states it as possible only.
        sides: out of left, right, bilateral and midline.
        places: anatomy, regions and compounds such as "lower left".
        properties: other descriptions, each with whether it is denied.
        count: how many there are, if the text gives a number.
        measures: pairs of dimension and value; lengths in mm.
    """

    name: str
    kind: Kind = "other"
    denied: bool = False
    hedged: bool = False
    sides: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    properties: frozenset[tuple[str, bool]] = frozenset()
    count: float | None = None
    measures: frozenset[tuple[str, float]] = frozenset()

    def facts(self) -> Iterable[Fact]:
        """The single statements that the finding consists of, each with the name and polarity of the finding."""
        subject = (self.name, self.denied and self.kind != "anatomy")
        context = {"anatomy": (PART, self.name), "modality": (MODALITY, self.name, self.denied)}.get(self.kind)
        if self.name:
            yield context or subject
        for side in self.sides:
            yield (*(context or subject), "side", side)
        for place in self.places:
            yield (*(context or subject), "place", place)
        sides = sorted(self.sides) if self.kind == "anatomy" else ()  # each lung has its own properties
        for value, denied in self.properties:
            yield (*subject, "is", value, denied, *sides)
        if self.count is not None:
            yield (*subject, "count", self.count)
        for dimension, size in self.measures:
            yield (*subject, dimension, size)


@dataclass(frozen=True, slots=True)
class Reading:
    """The findings of a text, and the number of words that belong to none because their order makes no sentence."""

    findings: tuple[Finding, ...]
    disordered: int = 0

    def facts(self) -> dict[Fact, bool]:
        """Each fact of the text, with whether it is stated without a hedge."""
        result: dict[Fact, bool] = {}
        for finding in self.findings:
            for fact in finding.facts():
                result[fact] = result.get(fact, False) or not finding.hedged
        return result
