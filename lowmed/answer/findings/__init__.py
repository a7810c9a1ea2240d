"""Reads the findings of an English text as tuples: name, polarity, side, location, properties, and number with unit.

A phrase is a run of words between function words, and its last noun is the finding. Words before that noun describe it,
and so do words after a copula or a preposition of place. So the order of words counts: a list of the same words, sorted
or reversed, has other phrases or none.
"""

from lowmed.answer.findings.conflict import contradicts
from lowmed.answer.findings.finding import MODALITY, PART, Fact, Finding, Reading
from lowmed.answer.findings.quantities import quantities
from lowmed.answer.findings.read import is_english, read_findings
from lowmed.answer.findings.side_words import exchanged_side

__all__ = [
    "MODALITY",
    "PART",
    "Fact",
    "Finding",
    "Reading",
    "contradicts",
    "exchanged_side",
    "is_english",
    "quantities",
    "read_findings",
]
