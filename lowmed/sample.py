"""The record that everything else is about: one question about zero or more images."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["choice", "closed", "open", "json", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about zero or more images, with its gold answer.

    `images` are references that the sample's data set can open, not paths of this machine. `answer` is a text, never
    a letter: for `choice` it is one of `options`, which stand in the order in which they are shown. `group` (patient,
    else image) never crosses a split. `id` joins every later file.

    Raises:
        ValueError: the row cannot be asked or graded; the message says why.
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

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(KINDS)}")
        for name in ("id", "question", "answer", "group"):
            if not getattr(self, name).strip():
                raise ValueError(f"no {name}")
        if self.kind == "choice":
            if not 2 <= len(self.options) <= len(LETTERS):
                raise ValueError(f"{len(self.options)} options; a choice has 2 to {len(LETTERS)}")
            if self.options.count(self.answer) != 1:
                raise ValueError(f"the answer {self.answer!r} is not exactly one of the options")

    @property
    def letter(self) -> str:
        """The letter under which the gold option is shown; only a choice has one."""
        return LETTERS[self.options.index(self.answer)]
