"""Metrics of written reports."""

from lowmed.evaluation.records.classification import Figure, FigureDifference
from lowmed.records import Part


class ReportScores(Part):
    """Scores of one text a question against the reference reports."""

    rouge_l: Figure
    """ROUGE-L F1 of words."""
    google_bleu: Figure
    """Google BLEU of words."""
    f1: Figure | None
    """F1 of the statements about findings; null if no reference states any."""
    precision: Figure | None
    """Share of the statements that the reference makes too."""
    recall: Figure | None
    """Share of the reference's statements that are made."""
    words: float
    """Mean number of words."""


class ReportMetrics(Part):
    """Metrics of written reports, next to two texts that do not depend on the image. Exact match is not a metric."""

    reports: int
    """Number of report questions."""
    reference_words: float
    """Mean number of words of the reference reports."""
    without_findings: int
    """Reports left out of the figures of findings: their reference states none, or is not in English."""
    written: ReportScores
    """Of the completions; one without a report counts as an empty one."""
    constant: ReportScores | None
    """Baseline: the training report that is most similar to the others; null if the training reports are unknown."""
    exchanged: ReportScores | None
    """Baseline: the reference report of another patient; null if there is no other patient."""


class ScoreDifference(FigureDifference):
    """The difference of a score from 0 to 1 of two systems on the same questions, uncorrected."""

    p_by_image: float
    """Exact two-sided sign-flip test over images, on changes rounded to 0.01."""
