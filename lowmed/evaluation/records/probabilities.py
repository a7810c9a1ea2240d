"""Probabilities of the options of yes/no and choice questions, and how good they are."""

from typing import TypedDict

from lowmed.evaluation.records.classification import Figure, FigureDifference, YesNoMetrics
from lowmed.records import Part

Interval = tuple[float, float]


class StoredProbabilities(TypedDict):
    """One line of `probabilities.<system>.jsonl`: the options of one question."""

    split: str
    """Split of the question."""
    id: str
    """Question id."""
    options: list[str]
    """`yes` and `no`, or the options of a choice in the order shown."""
    log_probs: list[float] | None
    """Log-probability of the stored completion with each option as its answer; null if it has no answer tag."""


class ReliabilityBin(Part):
    """Questions whose probability is in one of ten bins of equal width."""

    low: float
    """Lower end of the bin."""
    questions: int
    """Number of questions in it."""
    probability: float
    """Their mean probability."""
    share: float
    """Share of them for which the predicted event is true."""


class ProbabilityMetrics(Part):
    """Probabilities of one system on yes/no questions or on choices.

    For yes/no the predicted event is that the gold answer is yes. For a choice it is that the most probable option is
    right.
    """

    questions: int
    """Questions with probabilities."""
    without: int
    """Questions without: the completion has no answer tag."""
    auroc: Figure | None
    """Area under the ROC curve of yes; null for choices, and without both gold answers."""
    brier: float
    """Mean squared error of the probabilities of all options, summed over the options and halved; 0 is best."""
    ece: float
    """Expected calibration error: mean distance of probability and share over the bins, weighted by questions."""
    bins: tuple[ReliabilityBin, ...]
    """The bins that hold questions."""


class ThresholdMetrics(Part):
    """Yes/no questions of one split, answered yes from a threshold of the probability of yes upward.

    The threshold was chosen on the dev questions of the run, which are in no split: that with the highest sum of
    sensitivity and specificity (Youden 1950).
    """

    threshold: float
    """Smallest probability of yes that counts as yes."""
    dev_questions: int
    """Yes/no questions of dev with probabilities."""
    dev_balanced_accuracy: float
    """Balanced accuracy on them, which is biased upwards."""
    metrics: YesNoMetrics
    """The answers at this threshold; a question without probabilities counts as the wrong answer."""


class TaskProbabilities(Part):
    """Choice questions with the same options: each class against all others."""

    classes: tuple[str, ...]
    """The options, sorted."""
    questions: int
    """Questions with probabilities."""
    auroc: dict[str, Figure]
    """Class -> area under the ROC curve of its probability; without classes that have no or all gold answers."""
    macro_auroc: Figure
    """Mean over these classes."""


class SplitProbabilities(Part):
    """Probabilities of one system on one split."""

    yes_no: ProbabilityMetrics | None
    """Yes/no questions; null without any."""
    choice: ProbabilityMetrics | None
    """Choice questions; null without any."""
    tasks: tuple[TaskProbabilities, ...] = ()
    """Choices among recurring options, the task with the most questions first."""
    at_threshold: ThresholdMetrics | None = None
    """Yes/no questions by a threshold from dev; null without dev questions of both answers."""


class AurocDifference(FigureDifference):
    """The AUROC of base and tuned on the yes/no questions that have probabilities from both."""

    p_delong: float | None
    """Two-sided p of DeLong's test over images; null if neither AUROC varies."""
