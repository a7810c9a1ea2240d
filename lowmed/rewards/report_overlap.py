"""Overlap of a report with its reference by words."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from lowmed import answer
from lowmed.answer.report import read_statements
from lowmed.answer.similarity import google_bleu, rouge_l, words_of
from lowmed.rewards.format import report_fault
from lowmed.rewards.score import Score
from lowmed.sample import Kind, Sample

MAX_DISORDERED = 0.2  # share of the words of a report that may be in an order of no sentence


@dataclass(frozen=True)
class ReportOverlap:
    """Google BLEU or ROUGE-L F1 of a report with its reference, from 0 to 1. 0 without a report in its tag.

    Both fall with every word that the reference lacks, so length does not pay. A report with more than twice the words
    of its reference, one that repeats itself, and words in an order of no sentence earn 0. Google BLEU is one of the
    rewards of RadVLM-GRPO (2512.10691). Words are compared without case and punctuation. The reward abstains on other
    kinds of questions.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("report",)
    metric: Literal["google_bleu", "rouge_l"] = "google_bleu"

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if sample.kind != "report":
            return Score(None, "the question requests no report")
        text, fault = report_in_tag(sample, completion)
        if fault:
            return Score(0.0, fault, text or None)
        similarity = google_bleu if self.metric == "google_bleu" else rouge_l
        value = max(similarity(text, reference) for reference in (sample.answer, *sample.accepted))
        return Score(value, f"{self.metric} with the reference report", text)


def report_in_tag(sample: Sample, completion: str) -> tuple[str, str]:
    """The report in the only answer tag of a completion, and why it earns nothing; "" if it may earn something."""
    read, extracted = answer.read(completion, sample), answer.extract(completion)
    if not read.strict or extracted.text is None:
        return "", f"no single answer tag ({', '.join(read.flags) or read.source})"
    if read.value is None:
        return "", "the report has no words"
    return extracted.text, report_fault(sample.answer, extracted.text) or _order_fault(sample.answer, extracted.text)


def _order_fault(reference: str, text: str) -> str:
    """Why an English text counts as a list of words; "" if it does not, and for other languages."""
    expected, stated = read_statements(reference), read_statements(text)
    if expected is None or stated is None:
        return ""
    extra = stated.disordered - expected.disordered
    return "the order of the words makes no sentence" if extra > MAX_DISORDERED * len(words_of(text)) else ""
