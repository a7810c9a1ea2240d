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
    by_name: dict[str, list[Finding]] = {}
    for other in reference:
        by_name.setdefault(_subject(other), []).append(other)
    for finding in findings:
        same_name = by_name.get(_subject(finding), ())
        if same_name and all(_conflict(finding, other) for other in same_name):
            return _in_words(finding)
    return ""


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
    if not sides or not other_sides or sides <= other_sides:
        return False
    if finding.kind == "anatomy":  # the other lung is another lung, unless the text moves a change to it
        shared = finding.properties & other.properties
        return sides.isdisjoint(other_sides) and any(value != "normal" for value, _ in shared)
    return True


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
