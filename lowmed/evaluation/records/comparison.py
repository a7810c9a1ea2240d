"""Records of `lowmed compare` and of `lowmed score`."""

from typing import Any, Literal

from pydantic import Field

from lowmed.evaluation.records.box_metrics import BoxMetrics
from lowmed.evaluation.records.classification import Classification, ClassificationDifference
from lowmed.evaluation.records.field_metrics import FieldMetrics
from lowmed.evaluation.records.metrics import Interval, OpenTiers, ReasoningCells
from lowmed.evaluation.records.paired import PairedDifference
from lowmed.evaluation.records.probabilities import AurocDifference
from lowmed.evaluation.records.report_metrics import ReportMetrics, ScoreDifference
from lowmed.judge.records import JudgeIdentity
from lowmed.records import Part, Record


class StratumDifference(PairedDifference):
    """The difference within one stratum, uncorrected."""

    few: bool
    """Under 30 questions or 10 images: too few for a stable figure."""


class JudgedDifference(PairedDifference):
    """The difference in one judge's verdicts on open questions, uncorrected."""

    judge: JudgeIdentity
    """Model and rubric; the same for both systems."""
    no_verdict: int
    """Open questions left out because one side has no verdict."""


class Example(Part):
    """A question whose grade differs between the two systems."""

    id: Any
    """Question id."""
    question: Any
    """The question."""
    answer: Any
    """Gold answer."""
    first: str | None
    """Completion of the first system."""
    second: str | None
    """Completion of the second system."""


class Flips(Part):
    """The first few questions that changed, each way."""

    to_correct: tuple[Example, ...]
    """Only the second system is correct."""
    to_incorrect: tuple[Example, ...]
    """Only the first system is correct."""


class SourceComparison(Part):
    """Comparison on one data source."""

    differences: tuple[str, ...]
    """Settings and questions that differ; empty unless --allow-different was set."""
    all: PairedDifference | None
    """All questions but reports; null if there are no others."""
    by_kind: dict[str, StratumDifference]
    """By question kind."""
    by_modality: dict[str, StratumDifference]
    """By modality."""
    by_answer_type: dict[str, StratumDifference]
    """By answer type."""
    by_topic: dict[str, StratumDifference]
    """By topic."""
    by_split: dict[str, StratumDifference]
    """By split."""
    by_strata: dict[str, dict[str, StratumDifference]]
    """By column of the user's choice, then by its value."""
    classification: ClassificationDifference | None = None
    """As test results and classes; null without yes/no questions and choice tasks."""
    auroc: AurocDifference | None = None
    """Of the yes/no questions; null without stored probabilities of both."""
    box_iou: ScoreDifference | None = None
    """Mean IoU of the questions with gold boxes; null without any."""
    reports: dict[str, ScoreDifference] | None = None
    """Of written reports, by figure; null without reports."""
    reports_by_split: dict[str, dict[str, ScoreDifference]] = Field(default_factory=dict)
    """The same by split; empty with one split."""
    flipped: Flips
    """Examples."""
    judged: tuple[JudgedDifference, ...]
    """One entry a judge that judged both."""
    judges_differ: str
    """Why stored judge scores are not compared, or empty."""
    p_holm: float
    """p by image of `all`, corrected for the number of data sources (Holm 1979); of reports alone that of `f1`."""


class Comparison(Record):
    """Result of `lowmed compare`; printed by --json, not stored."""

    first: tuple[str, ...]
    """The first system's completions."""
    second: tuple[str, ...]
    """The second system's completions."""
    grade: Literal["strict", "lenient"]
    """Which grade is compared."""
    sources: dict[str, SourceComparison]
    """By data source."""


class ScoreMetrics(Part):
    """Metrics of scored completions; shares are null without rows."""

    n: int
    """Number of completions."""
    images: int
    """Number of images or patients; rows that name none count as one each."""
    outcomes: dict[str, int]
    """Lenient grades."""
    strict_outcomes: dict[str, int]
    """Strict grades."""
    accuracy: float | None
    """Lenient accuracy."""
    accuracy_by_image: Interval | None
    """Its interval, by image."""
    strict_accuracy: float | None
    """Strict accuracy."""
    strict_accuracy_by_image: Interval | None
    """Its interval, by image."""
    most_frequent_gold: float | None
    """Baseline: the most frequent gold answer of each kind, taken from these rows."""
    chance: float | None
    """Baseline: 1/options for a choice, 1/2 for yes or no, otherwise 0."""
    unread_rate: float | None
    """Share from which no single answer could be read."""
    truncated_rate: float | None
    """Share cut by the token limit."""
    token_f1: float | None
    """Mean token F1 of open questions."""
    token_f1_by_image: Interval | None
    """Its interval, by image."""
    laterality_error_rate: float | None
    """Share that names the wrong side."""
    polarity_error_rate: float | None
    """Share that denies what is present, or the reverse."""
    few: bool
    """Under 30 questions or 10 images: too few for a stable figure."""
    fields: FieldMetrics | None = None
    """By field; null without JSON questions."""
    boxes: BoxMetrics | None = None
    """Overlap of boxes; null without questions about boxes."""
    open_tiers: OpenTiers | None = None
    """Open answers in tiers; null without open questions."""
    reports: ReportMetrics | None = None
    """Similarity of written reports; null without reports."""


class ScoreSummary(ScoreMetrics, Record):
    """Result of `lowmed score`."""

    rules_version: int
    """Version of the answer rules."""
    independent_rows: int
    """Rows that name no image or patient, taken as independent."""
    reasoning: ReasoningCells | None
    """Reasoning by answer; null if no completion has a think block."""
    classification: Classification | None = None
    """Answers as test results and classes; null without yes/no questions and choice tasks."""
    field_names: dict[str, str] = Field(default_factory=dict)
    """lowmed's field -> the file's field, where their names differ."""
    by_kind: dict[str, ScoreMetrics]
    """By question kind."""
    by_modality: dict[str, ScoreMetrics]
    """By modality."""
    by_strata: dict[str, dict[str, ScoreMetrics]]
    """By column of the user's choice, such as site or sex, then by its value."""
