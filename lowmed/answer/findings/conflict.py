"""Whether the findings of one text contradict those of another."""

from collections.abc import Iterable

from lowmed.answer.findings.finding import Finding
from lowmed.answer.findings.medical_words import OPPOSITES
from lowmed.answer.findings.phrases import LEVEL

_OPPOSED = {
    value: frozenset(other for group in OPPOSITES if value in group for other in group) - {value}
    for value in {value for group in OPPOSITES for value in group}
}


def contradicts(findings: Iterable[Finding], reference: Iterable[Finding]) -> str:
    """The first finding, in words, that conflicts with the reference and agrees with none of its findings; else ""."""
    findings, references = tuple(findings), tuple(reference)
    by_name: dict[str, list[Finding]] = {}
    for other in references:
        by_name.setdefault(_subject(other), []).append(other)
    for finding in findings:
        same_name = _comparable(finding, by_name.get(_subject(finding), []))
        is_alternative = finding.kind == "modality" and _is_alternative(finding, findings, same_name)
        if not same_name or is_alternative or finding in references:
            continue
        if all(_conflict(finding, other) for other in same_name) or _is_moved(finding, by_name[_subject(finding)]):
            return _in_words(finding)
    return ""


def _comparable(finding: Finding, same_name: list[Finding]) -> list[Finding]:
    """Of the findings of one name those about the same part of the body and with most of its attributes."""
    if finding.kind == "anatomy" and finding.sides:
        same_side = [other for other in same_name if _overlap(_expanded(finding.sides), _expanded(other.sides))]
        same_name = same_side or same_name
    shared = [len(_attributes(finding) & _attributes(other)) for other in same_name]
    return [other for other, count in zip(same_name, shared, strict=True) if count == max(shared)]


def _attributes(finding: Finding) -> frozenset[str]:
    return finding.sides | finding.places | {value for value, _ in finding.properties}


def _is_alternative(modality: Finding, findings: Iterable[Finding], same_name: Iterable[Finding]) -> bool:
    """Whether the text names a modality as one of several possible ones, of which the reference has another."""
    expected = {other.name for other in same_name}
    return modality.hedged and any(other.hedged and other.name in expected for other in findings)


def _subject(finding: Finding) -> str:
    return "#modality" if finding.kind == "modality" else finding.name


def _conflict(finding: Finding, other: Finding) -> bool:
    """Whether two findings of one name cannot both be true of one image, if each text states all that it sees."""
    if finding.kind == "modality":
        return (finding.name == other.name) == (finding.denied != other.denied)
    if finding.kind != "anatomy" and finding.denied != other.denied:  # "no right effusion" allows one on the left
        return _overlap(_expanded(finding.sides), _expanded(other.sides)) and _overlap(finding.places, other.places)
    if finding.kind != "anatomy" and (finding.denied or _sides_conflict(finding, other)):
        return not finding.denied
    return _values_conflict(finding, other) or _numbers_conflict(finding, other)


def _overlap(values: frozenset[str], others: frozenset[str]) -> bool:
    return not values or not others or not values.isdisjoint(others)


def _sides_conflict(finding: Finding, other: Finding) -> bool:
    """Whether a finding is at a side, or at a spot such as "lower left", at which the reference does not have it."""
    sides, other_sides = _expanded(finding.sides), _expanded(other.sides)
    spots, other_spots = _spots(finding), _spots(other)
    return bool((other_sides and sides - other_sides) or (other_spots and spots - other_spots))


def _spots(finding: Finding) -> frozenset[str]:
    return frozenset(place for place in finding.places if " " in place)


def _numbers_conflict(finding: Finding, other: Finding) -> bool:
    if None not in (finding.count, other.count) and finding.count != other.count:
        return True
    levels, other_levels = _levels(finding), _levels(other)
    if levels and other_levels and not levels <= other_levels:
        return True
    other_dimensions = {dimension for dimension, _ in other.measures}
    return any(
        dimension in other_dimensions and (dimension, size) not in other.measures
        for dimension, size in finding.measures
    )


def _levels(finding: Finding) -> frozenset[str]:
    """The levels of the spine and similar labels of letter and number, such as L4."""
    return frozenset(value for value, denied in finding.properties if not denied and LEVEL.fullmatch(value))


def _is_moved(finding: Finding, same_name: Iterable[Finding]) -> bool:
    """Whether the text describes one side of the body as the reference describes the other side only."""
    sides = _expanded(finding.sides)
    if finding.kind != "anatomy" or not sides:
        return False
    described = {value for value in finding.properties if value != ("normal", False)}
    same_side = {
        value for other in same_name if sides <= (_expanded(other.sides) or sides) for value in other.properties
    }
    other_side = {
        value
        for other in same_name
        if other.sides and sides.isdisjoint(_expanded(other.sides))
        for value in other.properties
    }
    return not described.isdisjoint(other_side - same_side)


def _expanded(sides: frozenset[str]) -> frozenset[str]:
    return sides - {"bilateral"} | {"left", "right"} if "bilateral" in sides else sides


def _values_conflict(finding: Finding, other: Finding) -> bool:
    if finding.kind == "anatomy" and finding.sides and other.sides and finding.sides.isdisjoint(other.sides):
        return False
    values = {value for value, denied in finding.properties if not denied} | finding.places
    others = {value for value, denied in other.properties if not denied} | other.places
    new = values - others
    if any(not _OPPOSED.get(value, frozenset()).isdisjoint(others) for value in new):
        return True
    if any((value, not denied) in other.properties for value, denied in finding.properties):
        return True
    denied_values = {value for value, denied in finding.properties if denied}  # "the side is not left"
    return not denied_values.isdisjoint(
        {*other.sides, *other.places, f"{other.count:g}" if other.count is not None else ""}
    )


def _in_words(finding: Finding) -> str:
    values = [value if not denied else f"not {value}" for value, denied in sorted(finding.properties)]
    sizes = [f"{size:g} {dimension}" for dimension, size in sorted(finding.measures)]
    count = [] if finding.count is None else [f"{finding.count:g}"]
    start = ["no"] if finding.denied else []
    return " ".join([*start, *count, *sorted(finding.sides), *values, finding.name, *sorted(finding.places), *sizes])
