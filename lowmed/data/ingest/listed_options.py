"""Options that stand in the text of a question, in the usual forms: `A)`, `a.`, `(1)`, `[A]`, `A-`, `A、`."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lowmed.data.ingest.answer_instructions import cut_instruction
from lowmed.sample import LETTERS

MAX_OPTIONS = len(LETTERS)
MAX_LISTS = 8  # first labels that are tried, from the end of a text
_CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩"
# A label at the start, or after white space or punctuation, with a closing bracket, a full stop, a colon or a dash.
_BEFORE = r"(?:^|(?<=[\s,;?!.:，；。？！：、]))"
_AFTER = r"(?:[)\]）】](?:[.:]|\s*[-–](?=\s))?|[.:：．、]|\s*[-–—](?=\s)|[-–—]|\s*=(?=\s))\s*(?=\S)"
_LABELS = {
    "upper": re.compile(rf"(?:{_BEFORE}[(\[]?|[（【])([A-Z]){_AFTER}"),
    "lower": re.compile(rf"(?:{_BEFORE}[(\[]?|[（【])([a-z]){_AFTER}"),
    "number": re.compile(rf"(?:{_BEFORE}[(\[]?|[（【])(\d{{1,2}})(?!\.\d){_AFTER}"),
    "circled": re.compile(rf"([{_CIRCLED}])\s*[.:、]?\s*(?=\S)"),
}
_LEAD_IN = re.compile(
    r"""(?:\s|^)[(\[]?(?:
        (?:the\s+)?(?:answer\s+)?(?:options|choices|candidates)(?:\s+(?:are|is|include|below|provided))*(?:\s+as\s+follows)?
      | (?:please\s+)?(?:choose|select|pick)\s+(?:(?:the\s+|one\s+)?(?:single\s+)?(?:correct|right|best|most\s+\w+)?\s*
        (?:one|answer|option|choice)s?\s*)?(?:from|among|of|out\s+of)?\s*(?:the\s+)?
        (?:following|these|below|given)?\s*(?:options|choices|answers|ones)?(?:\s+below)?
    )[)\]]?\s*[:.：]?\s*$|(?:\s|^)(?:选项|备选答案)(?:如下)?\s*[:：]?\s*$""",
    re.IGNORECASE | re.VERBOSE,
)
_LAST_WORD = re.compile(r"(\w+)\W*$")
_SENTENCE_END = re.compile(r"[.!?。]\s+(?=\S)|\n")
_NOT_LISTED_AFTER = re.compile(r"^[a-z]$|^\d+$")


@dataclass(frozen=True, slots=True)
class ListedOptions:
    """The options in a question's text.

    Attributes:
        question: the text before them, without a lead-in such as `Options:`.
        options: their texts.
        labels: their labels in the text, such as A or 1, in capitals.
        text_after: text of the last entry that seems not to belong to the option; "" if there is none.
    """

    question: str
    options: tuple[str, ...]
    labels: tuple[str, ...]
    text_after: str = ""


def listed_options(text: str) -> list[ListedOptions]:
    """The lists of two or more options that a text may contain, one for each form of label.

    Whether one of them is meant is known only from the gold answer.

    Args:
        text: a question without an instruction at its end, with its line ends.
    """
    lists = []
    for pattern in _LABELS.values():
        series = [_listed(text, starts) for starts in _series(list(pattern.finditer(text)))]
        complete = [listed for listed in series if all(listed.options)]
        if complete:  # the words before a list may contain labels too, so the last of the longest lists counts
            lists.append(max(enumerate(complete), key=lambda item: (len(item[1].options), item[0]))[1])
    return lists


def one_line(text: str) -> str:
    """The text without stray white space."""
    return " ".join(text.split())


def _listed(text: str, starts: list[re.Match[str]]) -> ListedOptions:
    ends = [start.start() for start in starts[1:]]
    entries = [text[start.end() : end] for start, end in zip(starts, [*ends, len(text)], strict=True)]
    entries[-1], after = _split_last(entries)
    before = text[: starts[0].start()]
    question = _LEAD_IN.sub("", before)
    labels = tuple(_label(start[1]) for start in starts)
    options = tuple(one_line(entry).rstrip(",;，；、").rstrip() for entry in entries)
    return ListedOptions(
        one_line(question) or one_line(before), tuple(_without_full_stops(options)), labels, one_line(after)
    )


def _without_full_stops(options: tuple[str, ...]) -> Iterable[str]:
    """The options without a full stop that ends each of them, or the last one alone."""
    ends = [option.endswith((".", "。")) and len(option) > 2 for option in options]
    if ends[-1] and (all(ends) or not any(ends[:-1])):
        return (option.rstrip(".。").rstrip() if end else option for option, end in zip(options, ends, strict=True))
    return options


def _split_last(entries: list[str]) -> tuple[str, str]:
    """The last entry, and the text after it: further sentences or lines, if no other entry has several."""
    last, others = entries[-1].strip(), [entry.strip() for entry in entries[:-1]]
    end = _SENTENCE_END.search(last)
    if not end or any(_SENTENCE_END.search(other) for other in others):
        return last, ""
    return last[: end.start() + (last[end.start()] in ".!?。")].strip(), last[end.end() :].strip()


def _series(matches: list[re.Match[str]]) -> Iterator[list[re.Match[str]]]:
    """For each first label, the labels that continue it in order."""
    places = [_place(match[1]) for match in matches]
    for at in [number for number, place in enumerate(places) if place == 0][-MAX_LISTS:]:
        starts: list[re.Match[str]] = []
        for match, place in zip(matches[at:], places[at:], strict=True):
            if place == len(starts) and place < MAX_OPTIONS:
                starts.append(match)
        if len(starts) > 1 and not _names_things(matches[0].string, starts):
            yield starts


def _place(label: str) -> int:
    """The place of a label in its series, from 0."""
    if label in _CIRCLED:
        return _CIRCLED.index(label)
    return int(label) - 1 if label.isdecimal() else LETTERS.find(label.upper())


def _label(label: str) -> str:
    return str(_CIRCLED.index(label) + 1) if label in _CIRCLED else label.upper()


def _names_things(text: str, starts: list[re.Match[str]]) -> bool:
    """Whether the same word stands before every label, as in `Image A: ... Image B: ...`."""
    words = [_LAST_WORD.search(text[: start.start()]) for start in starts]
    names = {word[1].casefold() if word else "" for word in words}
    return len(names) == 1 and "" not in names and not all(_NOT_LISTED_AFTER.match(name) for name in names)


def read_listed(text: str, gold_names_one: Callable[[ListedOptions], bool]) -> tuple[str, ListedOptions | None, str]:
    """Separate the options and the instruction from a question's text.

    Args:
        text: a question with its line ends.
        gold_names_one: whether the gold answer is one of these options, or their label.

    Returns:
        The bare question, the options that the gold answer belongs to or None, and the instruction or "".
    """
    with_cut, instruction = cut_instruction(text, with_options=True)
    for candidate in (with_cut, text) if instruction else (text,):
        listed = next((listed for listed in listed_options(candidate) if gold_names_one(listed)), None)
        if listed:
            return listed.question, listed, instruction if candidate == with_cut else ""
    bare, instruction = cut_instruction(text, with_options=False)
    return one_line(bare), None, instruction
