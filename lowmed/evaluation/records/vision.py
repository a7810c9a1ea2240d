"""Record of `lowmed probe --vision`: vision.json."""

from lowmed.evaluation.records.classification import Figure
from lowmed.records import Part, Record


class VisionTarget(Part):
    """Balanced accuracies of classifiers of one question's images, in cross-validation over groups of images."""

    question: str
    """Text of the question."""
    questions: int
    """Number of samples."""
    groups: int
    """Number of their images or patients."""
    classes: dict[str, int]
    """Samples of each answer."""
    chance: float
    """Balanced accuracy of guessing: 1 / number of classes."""
    linear: Figure
    """Linear classifier of the vision tower's features."""
    neighbors: Figure
    """Nearest neighbors by these features."""
    pixels_linear: Figure
    """Linear classifier of small gray images."""
    pixels_neighbors: Figure
    """Nearest neighbors by small gray images."""
    linear_gain: Figure
    """`linear` minus `pixels_linear`."""


class VisionProbe(Record):
    """Whether the features of the vision tower carry the answers to questions that recur in the training data."""

    lowmed: str
    """Version of lowmed."""
    model: str
    """Model."""
    source: str
    """Data source."""
    max_image_tokens: int
    """Largest number of tokens of an image."""
    questions: int
    """Training questions that were read."""
    left_out: int
    """Those without a class: of questions that do not recur, with rare answers, or without exactly one image."""
    targets: tuple[VisionTarget, ...]
    """The questions that recur, the most frequent first."""
