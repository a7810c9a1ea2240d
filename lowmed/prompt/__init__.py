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
from lowmed.sample import PLACEHOLDER, Sample, Turns

__all__ = [
    "FAMILIES",
    "CompletionFormat",
    "Family",
    "Message",
    "OptionFormat",
    "build_messages",
    "chat_messages",
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
    """The chat messages of one question: the system message if there is one, the earlier turns, then the question.

    Images are where the texts have `<image>`, else they begin the first user turn. Earlier turns have no wording of the
    family.

    Args:
        family: the prompt family.
        sample: the sample.
        wording: index of the wording, modulo the number of wordings.
    """
    question = question_text(sample, family.option_format)
    text = family.wording(sample.kind, wording).replace("{question}", question)
    return chat_messages(text, len(sample.images), sample.history, family.system)


def chat_messages(text: str, images: int = 0, history: Turns = (), system: str = "") -> list[Message]:
    """Chat messages that end with a user's text.

    Args:
        text: the last user text.
        images: number of images. They begin the first user turn, unless the user texts mark their places.
        history: earlier pairs of user text and assistant text.
        system: the system message; "" for none.
    """
    messages = [
        message for user, assistant in history for message in (_user_message(user), _message("assistant", assistant))
    ]
    messages.append(_user_message(text))
    if not any(part["type"] == "image" for message in messages for part in message["content"]):
        messages[0]["content"][:0] = [{"type": "image"} for _ in range(images)]
    return [_message("system", system), *messages] if system else messages


def as_texts(messages: list[Message]) -> list[dict[str, str]]:
    """The messages with texts as contents, as the chat templates of text-only models expect them. Has no images."""
    return [{**message, "content": "".join(part["text"] for part in message["content"])} for message in messages]


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _user_message(text: str) -> Message:
    """A user's turn, with an image at each placeholder."""
    first, *others = text.split(PLACEHOLDER)
    content = [{"type": "text", "text": first}]
    for other in others:
        content += [{"type": "image"}, {"type": "text", "text": other}]
    return {"role": "user", "content": [part for part in content if part.get("text") != ""]}


def reference_completion(family: Family, sample: Sample) -> str:
    """A right completion in the family's form, with the sample's explanation as reasoning. Reward checks score it.

    For a sample without an explanation, one sentence that states the answer takes the place of the reasoning: the form
    needs some text there. SFT does not train on that sentence, see `training_completion`.
    """
    answer_text = family.reference_answer.replace("{answer}", sample.written_answer)
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
