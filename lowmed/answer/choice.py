"""Which of the lettered options an answer text names."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lowmed.answer.negation import affirmed, clauses, negates, noncommittal
from lowmed.answer.normalize import normalize, plain
from lowmed.sample import LETTERS

_OWN_LETTER = re.compile(r"^\(?([A-Z])[).:]\s*(?=\S)")
_ONLY_LETTER = re.compile(
    r"(?:(?:the )?(?:correct |final |best |right )?(?:answer|option|choice)(?: is)?\s*:?\s*(?:(?:option|choice)\s*)?)?"
    r"[(\[{]?\s*([a-z])\s*[)\]}]?\s*[.:]?",
    re.IGNORECASE,
)
_LETTER_AND_TEXT = re.compile(r"\(?([A-Za-z])(?:[)\]][).:\]]*\s*|[.:]+\s*|\s+-\s+)(\S.*)", re.DOTALL)
_LETTERED_LINE = re.compile(r"^[^\w\n]*([A-Z])(?:[)\]][).:\]]*\s*|[.:]+\s*|\s+-\s+)(\S.*)$", re.MULTILINE)
_CALLED = re.compile(
    r"\b(?i:answer|option|choice)(?: is:?| would be:?|:)\s*(?i:(?:option|choice)\s*)?\(?"
    r"(?:([B-HJ-Z])|([AI])(?!\s+[a-z]))\)?(?![\w'-])"
)
_MENTIONED = re.compile(r"\b(?i:answer|option|choice)\s+\(?()([A-HJ-Z])\)?(?![\w'-])")
_SENTENCE = re.compile(r"(?<=[.;\n])")
_OF_OTHERS = re.compile(r"\b(?:other|remaining) (?:options|choices|answers)\b", re.IGNORECASE)
_REACH_CHARACTERS = 80  # what rejects a letter stands beside it
_REJECTED_BEFORE = re.compile(r"\b(?i:not|than|instead of|nor|neither|exclude[sd]?)\s+(?i:the\s+)?$")
_CLAUSE_END = re.compile(r"[.,;](?!\d)")
_AND = re.compile(r"\s*(?:,|/|&|or\b|and\b)")
_ANOTHER_LETTER = re.compile(
    r"\s*(?:,|/|&|\bor\b|\band\b)?\s*(?i:(?:option|choice)\s*)?\(?(?:([B-HJ-Z])|([AI])(?!\s+[a-z]))(?![\w'-])"
)


@dataclass(frozen=True, slots=True)
class Options:
    """Options in shown order, with their normal forms. Options of equal text are one option."""

    texts: tuple[str, ...]
    normal: tuple[str, ...]
    by_normal: dict[str, str | None]

    def lettered(self, letter: str) -> str | None:
        """The option shown under that letter, whichever its case."""
        at = LETTERS.find(letter.upper())
        return self.texts[at] if 0 <= at < len(self.texts) else None


@lru_cache(maxsize=8192)
def prepare_options(texts: tuple[str, ...]) -> Options:
    """The options made ready for reading; letters that they carry themselves ("A. CT") go."""
    bare = texts
    if _OWN_LETTER.match(texts[0] if texts else ""):
        own = [_OWN_LETTER.match(text) for text in texts]
        if all(mark and mark[1] == letter for mark, letter in zip(own, LETTERS, strict=False)):
            bare = tuple(_OWN_LETTER.sub("", text, count=1) for text in texts)
    normal = tuple(map(normalize, bare))
    by_normal: dict[str, str | None] = {}
    for text, form in zip(texts, normal, strict=False):
        by_normal[form] = text if by_normal.get(form, text) == text else None
    return Options(texts, normal, by_normal)


def read_choice(text: str, shown: Sequence[str]) -> tuple[str | None, str]:
    """The option that an answer text names, or None and a flag that says why.

    Rungs, first hit wins: a lone letter; an option's whole text; a letter with its text; a letter called the answer;
    a single lettered line; a letter mentioned; a single option's text that is not denied.
    """
    offered = prepare_options(tuple(shown))
    text = plain(text)
    alone = _ONLY_LETTER.fullmatch(text)
    if alone and (option := offered.lettered(alone[1])):
        return option, ""
    if option := offered.by_normal.get(normalize(text)):
        return option, ""
    if alone:
        return None, "letter_not_offered"
    lead = _LETTER_AND_TEXT.match(text)
    led = offered.lettered(lead[1]) if lead else None
    lines = [(option, line) for letter, line in _LETTERED_LINE.findall(text) if (option := offered.lettered(letter))]
    if lead and led and len({option for option, _ in lines}) < 2:
        return _led(led, lead[1], lead[2], offered)
    for result in (_named(text, offered, _CALLED), _listed(lines, offered), _named(text, offered, _MENTIONED)):
        if result:
            return _single(result)
    return _contained(text, offered)


def read_named(text: str, shown: Sequence[str]) -> tuple[str | None, str]:
    """As `read_choice`, for options that were shown without letters."""
    offered = prepare_options(tuple(shown))
    text = plain(text)
    option = offered.by_normal.get(normalize(text))
    return (option, "") if option else _contained(text, offered)


def _single(result: set[str]) -> tuple[str | None, str]:
    return (next(iter(result)), "") if len(result) == 1 else (None, "ambiguous")


def _led(option: str, letter: str, rest: str, offered: Options) -> tuple[str | None, str]:
    """A letter and text: that letter, unless the text is another option or another letter."""
    if offered.by_normal.get(normalize(rest)) == option:
        return option, ""
    first_line = rest.partition("\n")[0]
    for text in (rest, first_line, _CLAUSE_END.split(first_line)[0]):
        other = offered.by_normal.get(normalize(text), option)
        if other != option:
            return None, "letter_text_conflict"
    another = _ANOTHER_LETTER.match(rest)
    if another and offered.lettered(another[1] or another[2]) not in (None, option):
        return None, "ambiguous"
    if _only_options(first_line, offered):
        return None, "ambiguous"
    if letter.islower():  # "b) effusion" is a letter only where its own text follows
        return None, "no_candidate"
    return option, ""


def _only_options(line: str, offered: Options) -> bool:
    """Whether a line is nothing but several options in a row ("left B. right", "left or right")."""
    present, rest = _present(normalize(line), offered)
    return len(present) > 1 and all(len(word) == 1 or word in ("and", "or") for word in rest.split())


def _present(normal: str, offered: Options) -> tuple[list[str], str]:
    """Normal forms of the options in a normalised text, the longer of nested ones first, and the text without them."""
    rest = f" {normal} "
    present = []
    for form in sorted(offered.by_normal, key=len, reverse=True):
        if len(form) > 1 and f" {form} " in rest:  # a lone letter in a sentence is no option's text
            present.append(form)
            rest = rest.replace(f" {form} ", " ¤ ")
    return present, rest


def _named(text: str, offered: Options, pattern: re.Pattern[str]) -> set[str]:
    """Options whose letter is called the answer ("the answer is B"), or mentioned ("option B"), and not rejected."""
    result = set()
    for match in pattern.finditer(text):
        rest = text[match.end() : match.end() + _REACH_CHARACTERS]
        before = text[max(0, match.start() - _REACH_CHARACTERS) : match.start()]
        if _REJECTED_BEFORE.search(before) or negates(f" {clauses(rest)}"):
            continue
        another = _ANOTHER_LETTER.match(rest) if _AND.match(rest) else None
        letters = (match[1] or match[2], another[1] or another[2] if another else "")
        result |= {option for letter in letters if letter and (option := offered.lettered(letter))}
    return result


def _listed(lines: list[tuple[str, str]], offered: Options) -> set[str]:
    """Options given with their letter on their own line, less one full list that repeats the question."""
    counts = Counter(option for option, line in lines if offered.by_normal.get(normalize(line)) == option)
    if all(counts[option] for option in offered.texts):
        counts = counts - Counter(set(offered.texts)) or counts
    return set(counts)


def _contained(text: str, offered: Options) -> tuple[str | None, str]:
    """The one option whose text stands in the answer and is not denied; of two nested options the longer one."""
    if _OF_OTHERS.search(text):
        text = "".join(part for part in _SENTENCE.split(text) if not _OF_OTHERS.search(part))
    normal = normalize(text)
    if noncommittal(normal):
        return None, "noncommittal"
    present, _ = _present(normal, offered)
    if not present:
        return None, "no_candidate"
    marked = clauses(text)
    held = [form for form in present if affirmed(form, marked)]
    if not held:
        return None, "denied"
    option = offered.by_normal[held[0]]
    return (option, "") if len(held) == 1 and option else (None, "ambiguous")
