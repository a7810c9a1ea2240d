"""A prompt family: wordings that all ask for the same form of completion."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from lowmed.sample import KINDS, LETTERS, Kind, Sample

CompletionFormat = Literal["think_answer", "answer"]


@dataclass(frozen=True, slots=True)
class Listing:
    """How the options of a choice follow its question: a heading, one entry an option, and what ends them."""

    heading: str = "\n"
    entry: str = "{letter}. {option}"
    between: str = "\n"
    end: str = "\nAnswer with one letter."

    def of(self, options: tuple[str, ...]) -> str:
        """The options as they are shown."""
        entries = (
            self.entry.replace("{letter}", letter).replace("{option}", option)
            for letter, option in zip(LETTERS, options, strict=False)
        )
        return self.heading + self.between.join(entries) + self.end


LISTED = Listing()


@dataclass(frozen=True, slots=True)
class Family:
    """Wordings with one completion form. `{question}` stands for the question and its options.

    `wordings` are honest for `kinds` alone; the other kinds are asked by `otherwise`, which is then the toolkit's. A
    text that wants "the single-letter choice" says nothing sensible beside a question that has no letters.
    `published` says that `wordings` are the exact texts of `source`.
    """

    name: str
    wordings: tuple[str, ...]
    completion_format: CompletionFormat
    source: str
    published: bool = False
    kinds: tuple[Kind, ...] = KINDS
    otherwise: tuple[str, ...] = ()
    listing: Listing = LISTED

    @property
    def digest(self) -> str:
        """Twelve hex digits that change when anything that the model reads, or the completion form, does."""
        parts = [self.name, self.completion_format, *self.wordings]
        if self.otherwise:
            parts += ["otherwise", *self.kinds, *self.otherwise]
        if self.listing != LISTED:
            parts.append(repr(self.listing))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def wording(self, kind: Kind, draw: int = 0) -> str:
        """The text that asks a question of that kind: number `draw` modulo their count."""
        texts = self.wordings if kind in self.kinds else self.otherwise
        return texts[draw % len(texts)]


def question_text(sample: Sample, listing: Listing = LISTED) -> str:
    """The question as shown: with lettered options for a choice. Nothing in it depends on the gold answer."""
    return sample.question + listing.of(sample.options) if sample.kind == "choice" else sample.question
