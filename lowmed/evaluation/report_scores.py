"""The scores of one written report against its reference reports."""

from collections.abc import Iterable

from lowmed.answer.report import count_statements, read_statements
from lowmed.answer.similarity import google_bleu, rouge_l, words_of

RowReport = dict[str, float | None]


def score_report(text: str, references: Iterable[str]) -> RowReport:
    """The scores of one report against the nearest of its references, by ROUGE-L.

    Args:
        text: the report; "" if there is none.
        references: the reference reports, at least one.
    """
    reference = max(references, key=lambda one: rouge_l(text, one))
    expected = read_statements(reference)
    has_findings = expected is not None and bool(expected.facts)
    result: RowReport = {
        "rouge_l": rouge_l(text, reference),
        "google_bleu": google_bleu(text, reference),
        "words": len(words_of(text)),
        "reference_words": len(words_of(reference)),
        "f1": None,
        "precision": None,
        "recall": None,
    }
    if expected is None or not has_findings:
        return result
    stated = read_statements(text) if text else None
    if stated is None:
        return result | {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    counts = count_statements(expected, stated)
    return result | {"f1": counts.f1, "precision": counts.precision, "recall": counts.recall}
