"""Choose the completions whose reasoning becomes an explanation; the order of the completions does not matter."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lowmed.answer import normalize
from lowmed.distillation import filters
from lowmed.distillation.records import SamplingCounts
from lowmed.sample import Sample

DUPLICATE = "repeats another completion of the question"
TEMPLATE = "same reasoning for many questions"
ENOUGH = "more than --keep"
# Our choices. On phantom, whose explanations are sentences of one generator, the most frequent one has a share of 0.03.
MAX_SHARE = 0.1  # of the questions with an acceptable completion that may have the same reasoning
MIN_QUESTIONS = 5  # the same reasoning for fewer questions is no template


@dataclass(frozen=True)
class Candidate:
    """One completion of a question; `hinted` if its prompt showed the gold answer."""

    sample: Sample
    completion: str
    finish_reason: str
    tokens: int
    prompt_tokens: int
    hinted: bool = False

    @property
    def reasoning(self) -> str:
        """The text of the think block."""
        return filters.reasoning(self.completion)

    @property
    def rank(self) -> str:
        """A fixed random order of the completions of a question, which prefers no length."""
        return hashlib.sha256(f"{self.sample.id}\n{normalize(self.reasoning)}".encode()).hexdigest()


@dataclass
class Selection:
    """The kept completions by the id of their question, and the first reason against each of the others."""

    kept: dict[str, list[Candidate]] = field(default_factory=dict)
    dropped: list[tuple[Candidate, str]] = field(default_factory=list)

    def counts(self, *, hinted: bool) -> SamplingCounts:
        """The counts of the completions with or without a hint."""
        kept = [one for group in self.kept.values() for one in group if one.hinted == hinted]
        dropped = [(one, why) for one, why in self.dropped if one.hinted == hinted]
        every = [*kept, *(one for one, _ in dropped)]
        return SamplingCounts(
            questions=len({one.sample.id for one in every}),
            completions=len(every),
            right=sum(filters.is_right(one.sample, one.completion, one.finish_reason) for one in every),
            kept=len(kept),
            dropped=dict(Counter(why for _, why in dropped).most_common()),
            prompt_tokens=sum(one.prompt_tokens for one in every),
            completion_tokens=sum(one.tokens for one in every),
        )


def candidates(rows: Iterable[Mapping[str, Any]], samples: Mapping[str, Sample], *, hinted: bool) -> list[Candidate]:
    """Stored completions of these questions, by id; those of other questions are left out."""
    return [
        Candidate(
            samples[row["id"]],
            row["completion"],
            row["finish_reason"],
            row["tokens"],
            row.get("prompt_tokens", 0),
            hinted,
        )
        for row in rows
        if row["id"] in samples
    ]


def select(completions: Sequence[Candidate], keep: int) -> Selection:
    """Keep at most `keep` completions a question that pass the filters and differ; those without a hint first.

    Reasoning that is the same for more than a tenth of the questions, apart from the words of question and answer, is a
    template and is dropped.
    """
    selection = Selection()
    passed: list[Candidate] = []
    for one in completions:
        why = filters.fault(one.sample, one.completion, one.finish_reason, hinted=one.hinted)
        if why:
            selection.dropped.append((one, why))
        else:
            passed.append(one)
    templates = _templates(passed)
    groups: dict[str, list[Candidate]] = {}
    for one in passed:
        if filters.own_words(one.sample, one.reasoning) in templates:
            selection.dropped.append((one, TEMPLATE))
        else:
            groups.setdefault(one.sample.id, []).append(one)
    for name, group in groups.items():
        unique: dict[str, Candidate] = {}
        for one in sorted(group, key=lambda one: (one.hinted, one.rank)):
            if unique.setdefault(normalize(one.reasoning), one) is not one:
                selection.dropped.append((one, DUPLICATE))
        first, *others = unique.values()
        usable = [first, *(one for one in others if one.hinted == first.hinted)]
        selection.kept[name] = usable[:keep]
        selection.dropped += [(one, ENOUGH) for one in unique.values() if one not in selection.kept[name]]
    return selection


def _templates(passed: Sequence[Candidate]) -> set[tuple[str, ...]]:
    """What reasoning has in common that occurs for many questions."""
    questions: dict[tuple[str, ...], set[str]] = {}
    for one in passed:
        questions.setdefault(filters.own_words(one.sample, one.reasoning), set()).add(one.sample.id)
    answered = len({one.sample.id for one in passed})
    return {text for text, ids in questions.items() if len(ids) >= MIN_QUESTIONS and len(ids) > MAX_SHARE * answered}
