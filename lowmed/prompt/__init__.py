"""Builds the prompt of a sample, its reference completion, and the completion that SFT trains on.

A family is a named set of wordings that request the same form of completion. Training draws a wording per sample.
Inference always uses the first wording.
"""

import re
from typing import Any

from lowmed import answer
from lowmed.errors import RecipeError
from lowmed.prompt.families import FAMILIES
from lowmed.prompt.family import (
    CompletionFormat,
    Family,
    OptionFormat,
    prefill_mistake,
    question_text,
    system_mistake,
)
from lowmed.sample import Sample

__all__ = [
    "FAMILIES",
    "CompletionFormat",
    "Family",
    "Message",
    "OptionFormat",
    "build_messages",
    "family",
    "prefill_mistake",
    "question_text",
    "reference_completion",
    "system_mistake",
    "training_completion",
]

Message = dict[str, Any]

_EMPTY_CELLS = frozenset({"n/a", "na", "nan", "none", "null"})
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
    """The chat messages of one question: the system message if there is one, then image placeholders and the text.

    Args:
        family: the prompt family.
        sample: the sample.
        wording: index of the wording, modulo the number of wordings.
    """
    question = question_text(sample, family.option_format)
    text = family.wording(sample.kind, wording).replace("{question}", question)
    images: list[Message] = [{"type": "image"} for _ in sample.images]
    system: list[Message] = [{"role": "system", "content": [{"type": "text", "text": family.system}]}]
    user: Message = {"role": "user", "content": [*images, {"type": "text", "text": text}]}
    return [*system, user] if family.system else [user]


def reference_completion(family: Family, sample: Sample) -> str:
    """A right completion in the family's form, with the sample's explanation as reasoning. Reward checks score it.

    For a sample without an explanation, one sentence that states the answer takes the place of the reasoning: the form
    needs some text there. SFT does not train on that sentence, see `training_completion`.
    """
    gold = sample.letter if sample.kind == "choice" else sample.answer
    answer_text = family.reference_answer.replace("{answer}", gold)
    if family.completion_format == "answer":
        return f"<answer>{answer_text}</answer>"
    thought = _reasoning(sample) or f"The answer to the question is {sample.answer}."
    return f"<think>{thought}</think><answer>{answer_text}</answer>"


def training_completion(family: Family, sample: Sample) -> str | None:
    """The completion that SFT trains on; None if the family requests reasoning and the sample has no explanation."""
    if family.completion_format == "think_answer" and not _reasoning(sample):
        return None
    return reference_completion(family, sample)


def _reasoning(sample: Sample) -> str:
    """The explanation as the text of a think block; "" if it has no words, or only those of an empty table cell."""
    # An explanation drafted by a reasoning model may contain tags, which would end the think block too early.
    text = _TAGS.sub(" ", sample.explanation).strip()
    words = answer.normalize(text)
    return text if re.search(r"\w", words) and words not in _EMPTY_CELLS else ""
