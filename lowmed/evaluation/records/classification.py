"""Yes/no questions as a diagnostic test, and choices among the same options as a classification."""

from pydantic import Field

from lowmed.evaluation.records.paired import PairedDifference
from lowmed.records import Part

Interval = tuple[float, float]


class Figure(Part):
    """A figure with its 95 % interval."""

    value: float
    """The figure."""
    by_image: Interval
    """Its interval, by image (or patient)."""


class AnswerCounts(Part):
    """Answers to the questions with one gold answer."""

    yes: int
    """Answered yes."""
    no: int
    """Answered no."""
    unread: int
    """No answer could be read."""


class YesNoMetrics(Part):
    """Yes/no questions as a test whose positive result is yes. An unread answer counts as the wrong one.

    A figure is null if its denominator is 0.
    """

    questions: int
    """Number of yes/no questions."""
    images: int
    """Number of their images (or patients)."""
    few: bool
    """Under 30 questions or 10 images: too few for a stable figure."""
    prevalence: float
    """Share of the questions with the gold answer yes. PPV and NPV hold for this share only."""
    gold_yes: AnswerCounts
    """Answers to questions with the gold answer yes."""
    gold_no: AnswerCounts
    """Answers to questions with the gold answer no."""
    sensitivity: Figure | None
    """Share of the gold yes that is answered yes."""
    specificity: Figure | None
    """Share of the gold no that is answered no."""
    ppv: Figure | None
    """Positive predictive value: share of the answers yes whose gold answer is yes."""
    npv: Figure | None
    """Negative predictive value: share of the answers no whose gold answer is no."""
    f1: Figure | None
    """Harmonic mean of sensitivity and PPV."""
    balanced_accuracy: Figure | None
    """Mean of sensitivity and specificity."""


class ClassMetrics(Part):
    """One class of a choice task. A figure is null if its denominator is 0."""

    gold: int
    """Questions with this gold answer."""
    answered: int
    """Questions with this answer."""
    sensitivity: Figure | None
    """Share of the gold answers of this class that are answered so."""
    ppv: Figure | None
    """Share of the answers of this class that are right."""
    f1: Figure | None
    """Harmonic mean of both."""


class ChoiceTask(Part):
    """Choice questions with the same options, in any order: a classification."""

    classes: tuple[str, ...]
    """The options, sorted."""
    questions: int
    """Number of questions."""
    images: int
    """Number of their images (or patients)."""
    few: bool
    """Under 30 questions or 10 images: too few for a stable figure."""
    counts: tuple[tuple[int, ...], ...]
    """One row for each gold class, one column for each answered class, and a last column of unread answers."""
    by_class: dict[str, ClassMetrics]
    """By class."""
    macro_f1: Figure | None
    """Mean F1 of the classes that are a gold answer or an answer; null if fewer than two classes are gold answers."""
    balanced_accuracy: Figure | None
    """Mean sensitivity of the classes that are a gold answer; null if they are fewer than two."""


class Classification(Part):
    """Lenient answers of one system as test results and classes."""

    yes_no: YesNoMetrics | None
    """All yes/no questions; null without any."""
    yes_no_by: dict[str, dict[str, YesNoMetrics]] = Field(default_factory=dict)
    """By column (modality, topic, or one of the user's choice such as the finding), then by its value."""
    tasks: tuple[ChoiceTask, ...] = ()
    """The choice tasks, the one with the most questions first."""


class FigureDifference(Part):
    """A figure of two systems on the same questions."""

    questions: int
    """Questions that both answered."""
    images: int
    """Their images (or patients)."""
    first: float
    """Figure of the first system."""
    second: float
    """Figure of the second system."""
    difference: float
    """`second` - `first`."""
    by_image: Interval
    """95 % interval of the paired difference, by image."""


class YesNoDifference(Part):
    """The differences on yes/no questions, uncorrected; null where a figure of one system is not defined."""

    sensitivity: PairedDifference | None
    """On the questions with the gold answer yes."""
    specificity: PairedDifference | None
    """On the questions with the gold answer no."""
    ppv: FigureDifference | None
    """Of the positive predictive values."""
    npv: FigureDifference | None
    """Of the negative predictive values."""
    f1: FigureDifference | None
    """Of the F1 scores."""
    balanced_accuracy: FigureDifference | None
    """Of the balanced accuracies."""


class ChoiceTaskDifference(Part):
    """The differences on one choice task, uncorrected; null where a figure of one system is not defined."""

    classes: tuple[str, ...]
    """The options, sorted."""
    macro_f1: FigureDifference | None
    """Of the macro F1 scores."""
    balanced_accuracy: FigureDifference | None
    """Of the balanced accuracies."""


class ClassificationDifference(Part):
    """Two systems' answers as test results and classes, second minus first."""

    yes_no: YesNoDifference | None
    """All yes/no questions; null without any."""
    tasks: tuple[ChoiceTaskDifference, ...]
    """The choice tasks."""
