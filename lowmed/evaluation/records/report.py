"""Results of `lowmed eval` and `lowmed probe`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from lowmed.evaluation.records.classification import ClassificationDifference
from lowmed.evaluation.records.controls import ControlReport
from lowmed.evaluation.records.metrics import Interval, JudgeScores, Metrics, SamplingMetrics
from lowmed.evaluation.records.paired import PairedDifference
from lowmed.evaluation.records.probabilities import AurocDifference, SplitProbabilities
from lowmed.evaluation.records.report_metrics import ScoreDifference
from lowmed.evaluation.records.stored import SharedSettings, SplitSettings
from lowmed.records import Part


class SplitReport(SplitSettings):
    """Results on one split."""

    no_image_floor: float | None
    """Accuracy of the answer-prior baseline; null if the training answers are unknown, or all are reports."""
    results: dict[str, Metrics]
    """By system: base, tuned or endpoint."""
    accuracy_change: PairedDifference | None = None
    """Lenient accuracy, tuned minus base, uncorrected; absent without both systems, or if all are reports."""
    report_change: dict[str, ScoreDifference] | None = None
    """The same of written reports, by figure; absent without reports."""
    classification: ClassificationDifference | None = None
    """Tuned minus base, as test results and classes; absent without both systems."""
    probabilities: dict[str, SplitProbabilities] = Field(default_factory=dict)
    """By system; absent without `--probabilities`."""
    auroc: AurocDifference | None = None
    """Tuned minus base; absent without the probabilities of both."""


class GradeChange(Part):
    """Questions whose lenient grade changed since the evaluation was last scored."""

    system: str
    """base, tuned or endpoint."""
    before: str
    """Grade before: correct, incorrect or unread."""
    after: str
    """Grade now."""
    questions: int
    """Number of questions."""
    examples: tuple[str, ...]
    """The first ids."""


class EvalReport(SharedSettings):
    """Result of `lowmed eval` on one data source, with the settings of the evaluation."""

    lowmed: str
    """Version that wrote the report."""
    rules: int
    """Version of the answer rules."""
    splits: dict[str, SplitReport]
    """By split name."""
    controls: dict[str, ControlReport]
    """By system."""
    sampled: dict[str, SamplingMetrics]
    """By system; empty without `--samples`."""
    judged: tuple[JudgeScores, ...] = ()
    """One entry a judge."""
    changes: tuple[GradeChange, ...] = ()
    """Grades that changed since the evaluation was last scored, by other answer rules."""
    folder: Path | None = Field(default=None, exclude=True)

    @property
    def systems(self) -> list[str]:
        """The evaluated systems."""
        return list(next(iter(self.splits.values())).results)


class ProbeAtK(Part):
    """Pass@K on training questions."""

    pass_rate: float
    """Pass@K, unbiased."""
    by_image: Interval
    """Interval by image."""
    chance: float
    """Pass@K of guessing."""
    blind: float | None
    """Pass@K without the image; null if too few such completions exist."""


class ProbeStratum(Part):
    """Support for RL in one stratum."""

    questions: int
    """Number of questions."""
    few: bool
    """Under 30 questions or 10 images: too few for a stable figure."""
    acc_at_1: float
    """Strict greedy accuracy."""
    acc_at_1_wilson: Interval
    """Wilson interval."""
    acc_at_1_by_image: Interval
    """Interval by image."""
    by_k: dict[str, ProbeAtK]
    """By K."""
    support: float
    """Share of questions correct more often than guessing and the blind model explain."""
    support_by_image: Interval
    """Interval by image."""
    mixed: float
    """Share of questions with both correct and incorrect completions."""
    format_failure: float
    """Share of completions without a readable answer in one tag."""
    unique_answers: float
    """Mean number of different answers to a question."""
    verdict: Literal["RL", "SFT first", "neither"]
    """Recommended next stage."""
    reason: str
    """Reason of the verdict."""


class ProbeReport(SharedSettings):
    """Result of `lowmed probe`, with its settings."""

    splits: dict[str, SplitSettings]
    """The training questions, as the split `train`."""
    support_needed: float
    """Threshold of the verdict."""
    all: ProbeStratum
    """All questions."""
    by_modality: dict[str, ProbeStratum]
    """By modality."""
    by_kind: dict[str, ProbeStratum]
    """By question kind."""
    folder: Path | None = Field(default=None, exclude=True)
