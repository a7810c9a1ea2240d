"""Metrics of the fields of JSON answers."""

from lowmed.evaluation.records.classification import Figure
from lowmed.records import Part


class FieldScores(Part):
    """Precision, recall and F1 of fields."""

    precision: Figure
    """Share of the predicted fields that are right."""
    recall: Figure
    """Share of the gold fields that were predicted."""
    f1: Figure
    """2 x right fields / (predicted + gold fields)."""


class FieldMetrics(Part):
    """Metrics of JSON answers by field. An unread answer has no fields."""

    documents: int
    """Number of JSON questions."""
    micro: FieldScores
    """Over all fields of all documents."""
    mean: FieldScores
    """Mean over documents, each counted once."""
    tree_similarity: Figure | None
    """Mean of max(0, 1 - tree edit distance / that of an empty answer); null if no document is small enough."""
    without_tree: int
    """Documents that are too large for a tree edit distance."""
