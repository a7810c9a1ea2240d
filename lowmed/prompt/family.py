"""A prompt family: wordings that all request the same form of completion."""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from lowmed.control_tokens import control_token
from lowmed.sample import KINDS, LETTERS, Kind, Sample

CompletionFormat = Literal["think_answer", "answer"]


@dataclass(frozen=True, slots=True)
class OptionFormat:
    """The text of a choice's options after its question: prefix, one entry an option, separator, suffix."""

    prefix: str = "\n"
    entry: str = "{letter}. {option}"
    separator: str = "\n"
    suffix: str = "\nAnswer with one letter."

    def render(self, options: tuple[str, ...]) -> str:
        """The options as the model sees them."""
        entries = (
            self.entry.replace("{letter}", letter).replace("{option}", option)
            for letter, option in zip(LETTERS, options, strict=False)
        )
        return self.prefix + self.separator.join(entries) + self.suffix

    @property
    def digest_part(self) -> str:
        """The part of a family's digest. Stored digests contain exactly this text, so it must not change."""
        return (
            f"Listing(heading={self.prefix!r}, entry={self.entry!r}, between={self.separator!r}, end={self.suffix!r})"
        )


LETTERED_LINES = OptionFormat()
_TAG = re.compile(r"</?\s*(?:think(?:ing)?|answer)\s*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Family:
    """Wordings with one form of completion.

    Attributes:
        name: the name to use in a recipe.
        wordings: texts with `{question}` in place of the question and its options.
        completion_format: the tags that the wordings request.
        source: where the texts come from.
        published: whether `wordings` are the exact texts of `source`.
        kinds: the kinds of question for which `wordings` are valid; "the single-letter choice" needs letters.
        fallback_wordings: wordings for the other kinds, by lowmed.
        option_format: how options follow the question.
        reference_answer: how a reference completion writes `{answer}` in its tag.
        prefill: the start of the assistant's turn, which is part of the prompt. The model continues it.
        system: the system message; "" leaves it to the chat template.
    """

    name: str
    wordings: tuple[str, ...]
    completion_format: CompletionFormat
    source: str
    published: bool = False
    kinds: tuple[Kind, ...] = KINDS
    fallback_wordings: tuple[str, ...] = ()
    option_format: OptionFormat = LETTERED_LINES
    reference_answer: str = "{answer}"
    prefill: str = ""
    system: str = ""

    @property
    def opening(self) -> str:
        """The tag that the prefill opens, with the white space after it; "" if it opens none. Completions have it."""
        match = _TAG.search(self.prefill)
        return self.prefill[match.start() :] if match else ""

    @property
    def digest(self) -> str:
        """Twelve hex digits of everything that the model reads, and of the form of prompt and reference completion."""
        parts = [self.name, self.completion_format, *self.wordings]
        if self.fallback_wordings:
            parts += ["otherwise", *self.kinds, *self.fallback_wordings]
        if self.option_format != LETTERED_LINES:
            parts.append(self.option_format.digest_part)
        if self.reference_answer != "{answer}":
            parts.append(f"reference_answer={self.reference_answer!r}")
        if self.prefill:
            parts += ["prefill", self.prefill]
        if self.system:
            parts += ["system", self.system]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def wording(self, kind: Kind, index: int = 0) -> str:
        """The wording for a kind of question, by index modulo the number of wordings."""
        wordings = self.wordings if kind in self.kinds else self.fallback_wordings
        return wordings[index % len(wordings)]


def system_mistake(system: str) -> str:
    """What is wrong with a system message; "" if nothing is."""
    if system and not system.strip():
        return "is blank"
    if control := control_token(system):
        return f"contains the control token {control}"
    return ""


def prefill_mistake(prefill: str, completion_format: CompletionFormat) -> str:
    """What is wrong with a prefill for completions of this form; "" if nothing is.

    It may end with the first tag of the form. Other tags would end or skip a part of the completion.
    """
    if prefill and not prefill.strip():
        return "is blank"
    if control := control_token(prefill):
        return f"contains the control token {control}"
    tags = _TAG.findall(prefill)
    first = "<answer>" if completion_format == "answer" else "<think>"
    if tags and not (tags == [first] and prefill.rstrip().endswith(first)):
        return f"contains {tags[-1]}; it may have no tag but {first}, at its end"
    return ""


def question_text(sample: Sample, option_format: OptionFormat = LETTERED_LINES) -> str:
    """The question with the options of a choice. Nothing in it depends on the gold answer."""
    return sample.question + option_format.render(sample.options) if sample.kind == "choice" else sample.question
