"""Builds the prompt of a sample, and its reference completion.

A family is a named set of wordings that request the same form of completion. Training draws a wording per sample.
Inference always uses the first wording.
"""

import re
from typing import Any

from lowmed.errors import RecipeError
from lowmed.prompt.families import FAMILIES
from lowmed.prompt.family import CompletionFormat, Family, OptionFormat, question_text
from lowmed.sample import Sample

__all__ = [
    "FAMILIES",
    "CompletionFormat",
    "Family",
    "Message",
    "OptionFormat",
    "build_messages",
    "family",
    "question_text",
    "reference_completion",
]

Message = dict[str, Any]

_TAGS = re.compile(r"</?\s*(?:think(?:ing)?|answer)\s*>", re.IGNORECASE)


def family(name: str) -> Family:
    """A shipped family by name; families that a recipe defines are in its `prompts`.

    Raises:
        RecipeError: there is no family of that name.
    """
    if name not in FAMILIES:
        raise RecipeError(
            f"there is no prompt family `{name}`", "prompts.train or prompts.infer", f"use one of {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]


def build_messages(family: Family, sample: Sample, wording: int = 0) -> list[Message]:
    """The chat messages of one question: image placeholders, then the text.

    Args:
        family: the prompt family.
        sample: the sample.
        wording: index of the wording, modulo the number of wordings.
    """
    question = question_text(sample, family.option_format)
    text = family.wording(sample.kind, wording).replace("{question}", question)
    images: list[Message] = [{"type": "image"} for _ in sample.images]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


def reference_completion(family: Family, sample: Sample) -> str:
    """The correct completion in the family's form: the gold answer, with the sample's explanation as reasoning."""
    gold = sample.letter if sample.kind == "choice" else sample.answer
    answer = family.reference_answer.replace("{answer}", gold)
    if family.completion_format == "answer":
        return f"<answer>{answer}</answer>"
    # An explanation drafted by a reasoning model may contain tags, which would end the think block too early.
    thought = _TAGS.sub(" ", sample.explanation).strip() or f"The answer to the question is {sample.answer}."
    return f"<think>{thought}</think><answer>{answer}</answer>"
