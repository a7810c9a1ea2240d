"""What several data sets have in common: images, questions, and questions with different gold answers."""

from collections.abc import Iterable
from itertools import product

from lowmed.answer import normalize
from lowmed.sample import Sample


def describe_overlap(samples: Iterable[Sample]) -> list[str]:
    """Images and questions that occur in more than one source, as lines to print; empty if there are none.

    A question is the same if its images are and its text is, apart from case, punctuation and spaces. A conflict is a
    question whose gold answers differ between sources.
    """
    sources_of: dict[str, set[str]] = {}
    by_question: dict[tuple[tuple[str, ...], str], list[Sample]] = {}
    for sample in samples:
        for image in sample.images:
            sources_of.setdefault(image, set()).add(sample.source)
        if sample.images:
            by_question.setdefault((sample.images, normalize(sample.question)), []).append(sample)
    shared = [sources for sources in sources_of.values() if len(sources) > 1]
    repeated = [rows for rows in by_question.values() if len({row.source for row in rows}) > 1]
    conflicts = [rows for rows in repeated if _answers_differ(rows)]
    lines = []
    if shared:
        names = ", ".join(sorted(set().union(*shared)))
        lines.append(f"in several sources: {len(shared):,} images ({names}); a split by image never parts them")
    if repeated:
        lines.append(f"in several sources: {len(repeated):,} questions about the same images")
    if conflicts:
        a, b = next(
            (a, b)
            for a, b in product(conflicts[0], conflicts[0])
            if a.source != b.source and normalize(a.answer) != normalize(b.answer)
        )
        lines.append(
            f"CONFLICT: {len(conflicts):,} of these questions have other gold answers in another source "
            f"(first: {a.source} {a.id} and {b.source} {b.id})"
        )
    return lines


def _answers_differ(rows: Iterable[Sample]) -> bool:
    """Whether two sources give different answers. Within one source, that is a matter of the audit."""
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(row.source, set()).add(normalize(row.answer))
    return len({frozenset(of_source) for of_source in answers.values()}) > 1
