"""A sample: one question about zero or more images, with its gold answer."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from lowmed.boxes import THOUSANDTHS, Size, boxes_text, gold_mistake, on_grid, parse_boxes
from lowmed.control_tokens import control_token

Kind = Literal["choice", "closed", "open", "number", "ordered", "json", "text", "boxes", "report"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Turns = tuple[tuple[str, str], ...]
PLACEHOLDER = "<image>"  # in a question or an earlier user text: the place of the next image


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about zero or more images, with its gold answer.

    Attributes:
        id: unique within the data set. All output files refer to a sample by its id.
        question: the text of the question, without options. Images come first, unless `<image>` marks their places.
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
        history: the earlier turns of the conversation, oldest first: pairs of user text and assistant text. Images
            that no `<image>` marks belong to the first user turn.
        accepted: further gold answers that are graded as correct. Not for a `choice` or `boxes`.
        image_size: width and height in pixels of the image that `boxes` are in, the first one, before it was resized.
        box_grid: the units across and down in which the model writes boxes.

    Raises:
        ValueError: a field is missing, the options do not fit the answer, a turn of the history cannot be used, a text
            contains a control token of a model, or the numbers of `<image>` and images differ.
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
    accepted: tuple[str, ...] = ()
    image_size: Size = (0, 0)
    box_grid: Size = THOUSANDTHS

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
            if self.accepted:
                raise ValueError("several options are right; a choice has one")
        if self.kind == "boxes" and (mistake := _box_mistake(self)):
            raise ValueError(mistake)
        if mistake := _turn_mistake(self.history) or _markup_mistake(self):
            raise ValueError(mistake)

    @property
    def letter(self) -> str:
        """The letter of the gold option. Defined only for a choice."""
        return LETTERS[self.options.index(self.answer)]

    @property
    def written_answer(self) -> str:
        """The gold answer as a completion writes it: the letter of a choice, boxes in units of `box_grid`, else it."""
        if self.kind == "choice":
            return self.letter
        if self.kind == "boxes":
            boxes, _ = parse_boxes(self.answer)
            return boxes_text(on_grid(boxes, self.image_size, self.box_grid)) if boxes else "none"
        return self.answer

    @property
    def history_characters(self) -> int:
        """The length of all texts of the history."""
        return sum(len(text) for turn in self.history for text in turn)


def _box_mistake(sample: Sample) -> str:
    """What is wrong with a question of kind `boxes`; "" if nothing is."""
    if sample.accepted:
        return "boxes have one gold answer"
    return gold_mistake(sample.answer, sample.image_size)


def without_images(sample: Sample) -> Sample:
    """The same question without its images, for a control that shows none."""
    history = tuple((_unmarked(user), assistant) for user, assistant in sample.history)
    return replace(sample, images=(), question=_unmarked(sample.question), history=history)


def _unmarked(text: str) -> str:
    return " ".join(text.replace(PLACEHOLDER, " ").split()) if PLACEHOLDER in text else text


def _turn_mistake(history: Turns) -> str:
    """What is wrong with earlier turns; "" if nothing is."""
    for number, turn in enumerate(history, start=1):
        for role, text in zip(("user", "assistant"), turn, strict=True):
            if not text.strip():
                return f"turn {number} of the history has no {role} text"
    return ""


def _markup_mistake(sample: Sample) -> str:
    """The control token or the placeholder in a text that would end a turn, or count as an image; "" without one."""
    users = {f"the user text of turn {number} of the history": turn[0] for number, turn in enumerate(sample.history, 1)}
    marked = {"the question": sample.question, **users}
    places = sum(text.count(PLACEHOLDER) for text in marked.values())
    if places and places != len(sample.images):
        return f"the question has {places} {PLACEHOLDER} placeholders and {len(sample.images)} images"
    texts = {name: text.replace(PLACEHOLDER, " ") for name, text in marked.items()}
    for number, (_, text) in enumerate(sample.history, start=1):
        texts[f"the assistant text of turn {number} of the history"] = text
    texts["an option"] = "\n".join(sample.options)
    texts["the answer"] = "\n".join((sample.answer, *sample.accepted))
    texts["the explanation"] = sample.explanation
    texts["the unit"] = sample.unit
    for name, text in texts.items():
        if token := control_token(text):
            return f"{name} contains the control token {token}"
    return ""
