"""Reads the findings of a text, and whether the text is English."""

from dataclasses import replace
from functools import lru_cache

from lowmed.answer.findings.finding import Reading
from lowmed.answer.findings.phrases import is_known, sentence_tokens, stem_of, word_class
from lowmed.answer.findings.sentence import read_sentence

MIN_ENGLISH = 0.25  # share of known English words from which a text is read as English


@lru_cache(maxsize=4096)
def read_findings(text: str) -> Reading:
    """Read the findings of an English text."""
    parts: list[Reading] = []
    for tokens in sentence_tokens(text):
        if parts and _is_doubt(tokens):
            parts[-1] = replace(parts[-1], findings=tuple(replace(one, hedged=True) for one in parts[-1].findings))
        else:
            parts.append(read_sentence(tokens))
    return Reading(
        tuple(dict.fromkeys(finding for part in parts for finding in part.findings)),
        sum(part.disordered for part in parts),
    )


def _is_doubt(tokens: list[str]) -> bool:
    """Whether a sentence says nothing but that the one before is uncertain or wrong: "This cannot be excluded"."""
    classes = {word_class(token) for token in tokens}
    return not classes & {"content", "number"} and bool(classes & {"hedge", "denial", "denied_after"})


@lru_cache(maxsize=4096)
def is_english(text: str) -> bool:
    """Whether enough words of a text are function words or medical words of English."""
    tokens = [token for sentence in sentence_tokens(text) for token in sentence if token.isalpha()]
    known = sum(word_class(token) != "content" or is_known(stem_of(token)) for token in tokens)
    return bool(tokens) and known >= MIN_ENGLISH * len(tokens)
