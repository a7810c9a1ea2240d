"""Metrics of predicted boxes."""

from lowmed.evaluation.records.classification import Figure
from lowmed.records import Part


class BoxBaselines(Part):
    """Mean overlap of two constant answers on the questions with gold boxes."""

    complete_image: Figure | None
    """One box around the complete image; null if a size is unknown."""
    mean_box: Figure | None
    """The mean box of the training questions with the same text, or of all; null without training boxes."""


class BoxMetrics(Part):
    """Metrics of answers about boxes. An unread answer has no boxes. A box is right above an IoU of 0.5."""

    questions: int
    """Number of questions."""
    with_boxes: int
    """Questions with gold boxes."""
    read: Figure | None
    """Share of the answers that could be read as boxes or none."""
    iou: Figure | None
    """Mean overlap: the sum over matched boxes, over the larger number of boxes; questions with gold boxes."""
    recall: Figure | None
    """Share of the gold boxes with a right box."""
    precision: Figure | None
    """Share of the predicted boxes that are right; null without predicted boxes."""
    mean_average_precision: float | None
    """Mean over labels of precision x recall at an IoU of 0.5."""
    none_right: Figure | None
    """Share of the questions without gold boxes that are answered with none; null without such questions."""
    outside: float | None
    """Share of the predicted boxes that reach out of the image: a sign of another coordinate system."""
    baselines: BoxBaselines
    """Answers without a model."""
