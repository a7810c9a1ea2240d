"""Agreement of the findings of a report with those of its reference."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from lowmed.answer.findings import Fact
from lowmed.answer.report import count_statements, read_statements
from lowmed.rewards.report_overlap import report_in_tag
from lowmed.rewards.score import Score
from lowmed.sample import Kind, Sample

MAX_SHARE = 0.95  # so that a statement that every report makes still counts


@dataclass(frozen=True, eq=False)
class ReportCorpus:
    """How many training reports make each statement.

    Attributes:
        size: number of reports.
        counts: reports that make a statement.
    """

    size: int
    counts: Mapping[Fact, int]

    def share(self, fact: Fact) -> float:
        """The share of the training reports that make a statement, at most MAX_SHARE; 0 without training reports."""
        return min(MAX_SHARE, self.counts.get(fact, 0) / self.size) if self.size else 0.0


@dataclass(frozen=True)
class ReportFindings:
    """F1 of the statements about findings with those of the reference, from 0 to 1. 0 without a report in its tag.

    A statement is a finding of the lexicon, present or absent, or one of its properties: side, place, size, number. It
    weighs 1 minus the share of the training reports that make it, at least 0.05, and a wrong one costs that share. So a
    text that does not depend on the image earns about nothing where the image differs from most others, and listing
    every finding or every place earns little. A finding that is both present and absent earns nothing. Words in an
    order of no sentence count as wrong statements. The reward has the place of RadGraph F1 in RadVLM-GRPO (2512.10691);
    lexicon, formula and weights are lowmed's. It abstains on other kinds of questions, and on references that state no
    finding or are not in English.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("report",)
    corpus: ReportCorpus | None = None

    def with_corpus(self, samples: Sequence[Sample]) -> "ReportFindings":
        """The reward with the reports of the training samples as its weights; a corpus that it has stays."""
        return self if self.corpus else replace(self, corpus=corpus_of_reports(samples))

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion. Without training reports, all statements weigh the same."""
        if sample.kind != "report":
            return Score(None, "the question requests no report")
        reference = read_statements(sample.answer)
        if reference is None or not reference.facts:
            return Score(None, "the reference report states no finding of the lexicon")
        text, fault = report_in_tag(sample, completion)
        if fault:
            return Score(0.0, fault, text or None)
        predicted = read_statements(text)
        if predicted is None:
            return Score(0.0, "the report is not in English", text)
        corpus = self.corpus or ReportCorpus(0, {})
        counts = count_statements(reference, predicted, corpus.share)
        shared = sum(fact in reference.facts for fact in predicted.facts)
        why = f"{shared} of {len(reference.facts)} statements, {len(predicted.facts) - shared} others"
        return Score(min(1.0, counts.f1), why, text)


def corpus_of_reports(samples: Sequence[Sample]) -> ReportCorpus:
    """Count the statements of the reports among some samples."""
    counts: Counter[Fact] = Counter()
    reports = [sample.answer for sample in samples if sample.kind == "report"]
    for text in reports:
        statements = read_statements(text)
        counts.update(statements.facts.keys() if statements else ())
    return ReportCorpus(len(reports), dict(counts))
