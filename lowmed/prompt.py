"""How a question is put to the model, and the reply that would be right.

A family is a named set of wordings that all ask for the same form of reply. Training draws a wording per sample
(diversity prompting); inference always uses the first one (reasoning prompting).
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from lowmed.errors import RecipeError
from lowmed.sample import LETTERS, Sample

Message = dict[str, Any]
ReplyForm = Literal["think_answer", "answer"]

_TAGS = "Reply as <think>reasoning</think><answer>answer</answer>."
_REASON = "{question}\nThink step by step about what the image shows, then answer. " + _TAGS


@dataclass(frozen=True, slots=True)
class Family:
    """Wordings with one reply form. `{question}` stands for the question and its options."""

    name: str
    wordings: tuple[str, ...]
    reply: ReplyForm
    source: str

    @property
    def digest(self) -> str:
        """Twelve hex digits that change when any wording or the reply form does."""
        text = "\0".join((self.name, self.reply, *self.wordings))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "reasoning",
            (_REASON,),
            "think_answer",
            "toolkit's wording; RARL's inference prompt is not published",
        ),
        Family(
            "diverse",
            (
                _REASON,
                "{question}\nExplain the findings that lead to your answer. " + _TAGS,
                "{question}\nAnswer in as few words as you can. " + _TAGS,
                "Look at the image and describe what matters for this question: {question}\n" + _TAGS,
            ),
            "think_answer",
            "toolkit's wordings; RARL mixes explanation-required, short-form and open-ended ones, texts not published",
        ),
        Family(
            "direct",
            ("{question}\nReply as <answer>answer</answer>.",),
            "answer",
            "toolkit's wording",
        ),
    )
}


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        RecipeError: there is none.
    """
    if name not in FAMILIES:
        raise RecipeError(
            f"there is no prompt family `{name}`", "prompts.train or prompts.infer", f"use one of {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]


def question_text(sample: Sample) -> str:
    """The question as shown: with lettered options for a choice. Nothing in it depends on the gold answer."""
    if sample.kind == "choice":
        shown = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, sample.options, strict=False))
        return f"{sample.question}\n{shown}\nAnswer with one letter."
    return sample.question


def ask(asked: Family, sample: Sample, draw: int = 0) -> list[Message]:
    """The chat messages of one question: image placeholders, then wording number `draw` modulo their count."""
    wording = asked.wordings[draw % len(asked.wordings)]
    text = wording.replace("{question}", question_text(sample))
    images: list[Message] = [{"type": "image"} for _ in sample.images]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


def reference(asked: Family, sample: Sample) -> str:
    """The completion that would be right: the gold answer, with its explanation, in the family's reply form."""
    answer = sample.letter if sample.kind == "choice" else sample.answer
    if asked.reply == "answer":
        return f"<answer>{answer}</answer>"
    thought = sample.explanation or f"The answer to the question is {sample.answer}."
    return f"<think>{thought}</think><answer>{answer}</answer>"
