"""Whether the findings of one text contradict those of another."""

from collections.abc import Iterable

from lowmed.answer.findings.finding import Finding
from lowmed.answer.findings.medical_words import OPPOSITES

_OPPOSED = {
    value: frozenset(other for group in OPPOSITES if value in group for other in group) - {value}
    for value in {value for group in OPPOSITES for value in group}
}


def contradicts(findings: Iterable[Finding], reference: Iterable[Finding]) -> str:
    """The first finding, in words, that conflicts with the reference and agrees with none of its findings; else ""."""
    findings = tuple(findings)
    by_name: dict[str, list[Finding]] = {}
    for other in reference:
        by_name.setdefault(_subject(other), []).append(other)
    for finding in findings:
        same_name = by_name.get(_subject(finding), ())
        is_alternative = finding.kind == "modality" and _is_alternative(finding, findings, same_name)
        if not same_name or is_alternative:
            continue
        if all(_conflict(finding, other) for other in same_name) or _is_moved(finding, same_name):
            return _in_words(finding)
    return ""


def _is_alternative(modality: Finding, findings: Iterable[Finding], same_name: Iterable[Finding]) -> bool:
    """Whether the text names a modality as one of several possible ones, of which the reference has another."""
    expected = {other.name for other in same_name}
    return modality.hedged and any(other.hedged and other.name in expected for other in findings)


def _subject(finding: Finding) -> str:
    return finding.kind if finding.kind == "modality" else finding.name


def _conflict(finding: Finding, other: Finding) -> bool:
    """Whether two findings of one name cannot both be true of one image, if each text states all that it sees."""
    if finding.kind == "modality":
        return finding.name != other.name
    if _sides_conflict(finding, other):
        return True
    if finding.denied != other.denied and finding.kind != "anatomy":
        return not finding.places or not other.places or bool(finding.places & other.places)
    if _values_conflict(finding, other):
        return True
    if None not in (finding.count, other.count) and finding.count != other.count:
        return True
    sizes, other_sizes = dict(finding.measures), dict(other.measures)
    return any(
        size not in {value for name, value in other.measures if name == dimension}
        for dimension, size in sizes.items()
        if dimension in other_sizes
    )


def _sides_conflict(finding: Finding, other: Finding) -> bool:
    sides, other_sides = _expanded(finding.sides), _expanded(other.sides)
    # The other lung is another lung. `_is_moved` compares what is seen of it.
    return bool(sides and other_sides) and finding.kind != "anatomy" and not sides <= other_sides


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
    return any((value, not denied) in other.properties for value, denied in finding.properties)


def _in_words(finding: Finding) -> str:
    values = [value if not denied else f"not {value}" for value, denied in sorted(finding.properties)]
    sizes = [f"{size:g} {dimension}" for dimension, size in sorted(finding.measures)]
    count = [] if finding.count is None else [f"{finding.count:g}"]
    start = ["no"] if finding.denied else []
    return " ".join([*start, *count, *sorted(finding.sides), *values, finding.name, *sorted(finding.places), *sizes])
