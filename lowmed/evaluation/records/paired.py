"""The difference of two systems' grades on the same questions."""

from lowmed.records import Part

Interval = tuple[float, float]


class PairedDifference(Part):
    """Two systems on the same questions; differences are second minus first."""

    questions: int
    """Questions that both answered."""
    images: int
    """Their images (or patients)."""
    first: float
    """Accuracy of the first system."""
    second: float
    """Accuracy of the second system."""
    difference: float
    """`second` - `first`."""
    by_image: Interval
    """95 % interval of the paired difference, by image (adjusted Wald on the effective sample size)."""
    only_first: int
    """Questions that only the first system answers correctly."""
    only_second: int
    """Questions that only the second system answers correctly."""
    p_by_image: float
    """Exact two-sided sign-flip test over images; it decides the verdict."""
    p_mcnemar: float
    """Exact two-sided McNemar test, which takes the questions as independent."""
    questions_needed: int | None
    """Questions needed to detect a difference of this size with power 0.8; null if it is 0 or the data are too few."""
