"""How a question is put to the model, and the completion that would be right.

A family is a named set of wordings that all ask for the same form of completion. Training draws a wording per sample
(diversity prompting); inference always uses the first one (reasoning prompting).
"""

import re
from typing import Any

from lowmed.errors import RecipeError
from lowmed.prompt.families import FAMILIES
from lowmed.prompt.family import CompletionFormat, Family, Listing, question_text
from lowmed.sample import Sample

__all__ = [
    "FAMILIES",
    "CompletionFormat",
    "Family",
    "Listing",
    "Message",
    "build_messages",
    "family",
    "question_text",
    "reference_completion",
]

Message = dict[str, Any]

_TAGS = re.compile(r"</?\s*(?:think(?:ing)?|answer)\s*>", re.IGNORECASE)


def family(name: str) -> Family:
    """The family of that name, of those that ship; a recipe's own are had from its `prompts`.

    Raises:
        RecipeError: there is none.
    """
    if name not in FAMILIES:
        raise RecipeError(
            f"there is no prompt family `{name}`", "prompts.train or prompts.infer", f"use one of {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]


def build_messages(asked: Family, sample: Sample, draw: int = 0) -> list[Message]:
    """The chat messages of one question: image placeholders, then wording number `draw` modulo their count."""
    text = asked.wording(sample.kind, draw).replace("{question}", question_text(sample, asked.listing))
    images: list[Message] = [{"type": "image"} for _ in sample.images]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


def reference_completion(asked: Family, sample: Sample) -> str:
    """The completion that would be right: the gold answer, with its explanation, in the family's completion form."""
    answer = sample.letter if sample.kind == "choice" else sample.answer
    if asked.completion_format == "answer":
        return f"<answer>{answer}</answer>"
    # Explanations drafted by a reasoning model may bring tags of their own, which would end the block too early.
    thought = _TAGS.sub(" ", sample.explanation).strip() or f"The answer to the question is {sample.answer}."
    return f"<think>{thought}</think><answer>{answer}</answer>"
