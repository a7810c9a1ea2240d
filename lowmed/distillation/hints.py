"""Prompts that show the gold answer, and the screen for reasoning that mentions it was shown."""

import hashlib
import re
from dataclasses import replace

from lowmed.answer import normalize
from lowmed.answer.lexicon import ALL, one_of
from lowmed.sample import PLACEHOLDER, Sample

HINT = (
    "The right answer to the following question is: {answer}. Give the reasoning that leads to it, as if you had not "
    "been shown it.\n{question}"
)
DIGEST = hashlib.sha256(HINT.encode()).hexdigest()[:12]
_MENTIONS = re.compile(one_of(ALL.given_answers))


def with_hint(sample: Sample) -> Sample:
    """The same question with its gold answer in front; id, images and options stay."""
    gold = f"{sample.letter}. {sample.answer}" if sample.kind == "choice" else sample.written_answer
    return replace(sample, question=HINT.format(answer=gold.replace(PLACEHOLDER, " "), question=sample.question))


def mentions_hint(text: str) -> bool:
    """Whether a text mentions that the answer was given, in the words of any lexicon."""
    return bool(_MENTIONS.search(normalize(text)))
