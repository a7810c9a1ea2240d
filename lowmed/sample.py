"""A sample: one question about zero or more images, with its gold answer."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["choice", "closed", "open", "number", "ordered", "json", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Turns = tuple[tuple[str, str], ...]
_MARKUP = re.compile(r"<\|[^<>|]*\|>|<(?:image|video)>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about zero or more images, with its gold answer.

    Attributes:
        id: unique within the data set. All output files refer to a sample by its id.
        question: the text of the question, without options.
        answer: the gold answer. It is a text, never a letter; for `choice` it is one of `options`.
        kind: how the answer is graded.
        group: patient, or image where patients are unknown. All samples of a group are in the same part of a split.
        source: name of the data set.
        images: references that the data set can open, not file paths.
        options: the options of a `choice`, in the order in which they are shown.
        explanation: reasoning that leads to the answer, if the data set has it.
        modality: imaging modality, if known.
        topic: topic of the question, if known.
        unit: unit of a `number`, if it is not part of the answer.
        lower: the smallest right number of a `number`; with `upper` empty, only the answer itself is right.
        upper: the largest right number of a `number`.
        strata: further columns for accuracies by stratum, such as site or sex: pairs of column and value.
        history: the earlier turns of the conversation, oldest first: pairs of user text and assistant text. The images
            belong to the first user turn.

    Raises:
        ValueError: a field is missing, the options do not fit the answer, or a turn of the history cannot be used.
    """

    id: str
    question: str
    answer: str
    kind: Kind
    group: str
    source: str
    images: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    explanation: str = ""
    modality: str = ""
    topic: str = ""
    unit: str = ""
    lower: str = ""
    upper: str = ""
    strata: tuple[tuple[str, str], ...] = ()
    history: Turns = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is not one of {', '.join(KINDS)}")
        for name in ("id", "question", "answer", "group"):
            if not getattr(self, name).strip():
                raise ValueError(f"no {name}")
        if self.kind == "choice":
            if not 2 <= len(self.options) <= len(LETTERS):
                raise ValueError(f"{len(self.options)} options; a choice needs 2 to {len(LETTERS)}")
            if self.options.count(self.answer) != 1:
                raise ValueError(f"the answer {self.answer!r} is not exactly one of the options")
        if mistake := history_mistake(self.history):
            raise ValueError(mistake)

    @property
    def letter(self) -> str:
        """The letter of the gold option. Defined only for a choice."""
        return LETTERS[self.options.index(self.answer)]

    @property
    def history_characters(self) -> int:
        """The length of all texts of the history."""
        return sum(len(text) for turn in self.history for text in turn)


def history_mistake(history: Turns) -> str:
    """What is wrong with earlier turns; "" if nothing is.

    A control token or an image placeholder in a text would end the turn or count as an image.
    """
    for number, turn in enumerate(history, start=1):
        for role, text in zip(("user", "assistant"), turn, strict=True):
            if not text.strip():
                return f"turn {number} of the history has no {role} text"
            if markup := _MARKUP.search(text):
                return f"the {role} text of turn {number} of the history contains {markup[0]}"
    return ""
