"""Reads which of the lettered options an answer text names."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_uppercase

from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.negation import denies_preceding, is_affirmed, is_noncommittal, mark_clauses
from lowmed.answer.normalize import normalize, strip_markup
from lowmed.sample import LETTERS

_OWN_LETTER = re.compile(r"^\(?([A-Z])[).:]\s*(?=\S)")
_ONLY_LETTER = re.compile(rf"(?:{one_of(ALL.letter_lead_ins)})?[(\[{{]?\s*([a-z])\s*[)\]}}]?\s*[.:]?", re.IGNORECASE)
_LETTER_AND_TEXT = re.compile(r"\(?([A-Za-z])(?:[)\]][).:\]]*\s*|[.:]+\s*|\s+-\s+)(\S.*)", re.DOTALL)
_LETTERED_LINE = re.compile(r"^[^\w\n]*([A-Z])(?:[)\]][).:\]]*\s*|[.:]+\s*|\s+-\s+)(\S.*)$", re.MULTILINE)
_ANSWER_WORD, _OPTION_WORD = one_of(ALL.answer_words), rf"(?i:{one_of(ALL.option_words)}\s*)?"
# A letter that is a word too ("A", "I") counts only if no lower-case word follows it.
_WORD_LETTERS = "".join(ALL.word_letters)
_SURE_LETTERS = "".join(letter for letter in ascii_uppercase if letter not in _WORD_LETTERS)
_LETTER = rf"(?:([{_SURE_LETTERS}])|([{_WORD_LETTERS}])(?!\s+[a-z]))"
_NO_PRONOUN = "".join(letter for letter in ascii_uppercase if letter not in ALL.pronoun_letters)
_CALLED_ANSWER = re.compile(
    rf"\b(?i:{_ANSWER_WORD})(?:{one_of(ALL.answer_verbs)}|:)\s*{_OPTION_WORD}\(?{_LETTER}\)?(?![\w'-])"
)
_MENTIONED = re.compile(rf"\b(?i:{_ANSWER_WORD})\s+\(?()([{_NO_PRONOUN}])\)?(?![\w'-])")
_SENTENCE = re.compile(r"(?<=[.;\n])")
_OTHER_OPTIONS = re.compile(rf"\b{one_of(ALL.other_options)}\b", re.IGNORECASE)
_REACH_CHARACTERS = 80  # a rejection of a letter stands close to it
_REJECTED_BEFORE = re.compile(rf"\b(?i:{one_of(ALL.letter_rejections)})\s+(?i:{one_of(ALL.definite_articles)}\s+)?$")
_CLAUSE_END = re.compile(r"[.,;](?!\d)")
_JOINS = (*ALL.or_words, *ALL.and_words)
_JOIN = re.compile(rf"\s*(?:,|/|&|{one_of(_JOINS)}\b)")
_ANOTHER_LETTER = re.compile(rf"\s*(?:,|/|&|\b{one_of(_JOINS)}\b)?\s*{_OPTION_WORD}\(?{_LETTER}(?![\w'-])")


@dataclass(frozen=True, slots=True)
class Options:
    """Options in shown order, with their normal forms. Options of equal text count as one option.

    `by_normal` maps a normal form to its option, and to None if options of different text share the form.
    """

    texts: tuple[str, ...]
    normal: tuple[str, ...]
    by_normal: dict[str, str | None]

    def lettered(self, letter: str) -> str | None:
        """The option shown under that letter of either case; None if there is none."""
        index = LETTERS.find(letter.upper())
        return self.texts[index] if 0 <= index < len(self.texts) else None


@lru_cache(maxsize=8192)
def prepare_options(texts: tuple[str, ...]) -> Options:
    """Prepare options for the reader. Letters that are part of the option texts ("A. CT") are removed."""
    bare = texts
    if _OWN_LETTER.match(texts[0] if texts else ""):
        own_letters = [_OWN_LETTER.match(text) for text in texts]
        if all(match and match[1] == letter for match, letter in zip(own_letters, LETTERS, strict=False)):
            bare = tuple(_OWN_LETTER.sub("", text, count=1) for text in texts)
    normal = tuple(map(normalize, bare))
    by_normal: dict[str, str | None] = {}
    for text, form in zip(texts, normal, strict=False):
        by_normal[form] = text if by_normal.get(form, text) == text else None
    return Options(texts, normal, by_normal)


def read_choice(text: str, shown: Sequence[str]) -> tuple[str | None, str]:
    """Read the option that an answer text names; None and the problem if there is no single one.

    The first rule that applies decides: a lone letter; an option's complete text; a letter with its text; a letter
    called the answer; a single lettered line; a mentioned letter; the text of a single option that is not denied.
    """
    options = prepare_options(tuple(shown))
    text = strip_markup(text)
    lone_letter = _ONLY_LETTER.fullmatch(text)
    if lone_letter and (option := options.lettered(lone_letter[1])):
        return option, ""
    if option := options.by_normal.get(normalize(text)):
        return option, ""
    if lone_letter:
        return None, "letter_not_offered"
    leading = _LETTER_AND_TEXT.match(text)
    leading_option = options.lettered(leading[1]) if leading else None
    lines = [(option, line) for letter, line in _LETTERED_LINE.findall(text) if (option := options.lettered(letter))]
    if leading and leading_option and len({option for option, _ in lines}) < 2:
        return _read_leading(leading_option, leading[1], leading[2], options)
    for named in (
        _named_letters(text, options, _CALLED_ANSWER),
        _lettered_lines(lines, options),
        _named_letters(text, options, _MENTIONED),
    ):
        if named:
            return (next(iter(named)), "") if len(named) == 1 else (None, "ambiguous")
    return _read_contained(text, options)


def read_named(text: str, shown: Sequence[str]) -> tuple[str | None, str]:
    """Like `read_choice`, for options that were shown without letters."""
    options = prepare_options(tuple(shown))
    text = strip_markup(text)
    option = options.by_normal.get(normalize(text))
    return (option, "") if option else _read_contained(text, options)


def _read_leading(option: str, letter: str, rest: str, options: Options) -> tuple[str | None, str]:
    """Read a letter that text follows: its option, unless the text is another option or begins with another letter."""
    if options.by_normal.get(normalize(rest)) == option:
        return option, ""
    first_line = rest.partition("\n")[0]
    for text in (rest, first_line, _CLAUSE_END.split(first_line)[0]):
        if options.by_normal.get(normalize(text), option) != option:
            return None, "letter_text_conflict"
    another = _ANOTHER_LETTER.match(rest)
    if another and options.lettered(another[1] or another[2]) not in (None, option):
        return None, "ambiguous"
    if _lists_options_only(first_line, options):
        return None, "ambiguous"
    if letter.islower():  # "b) effusion": a lower-case letter counts only with the text of its option
        return None, "no_candidate"
    return option, ""


def _lists_options_only(line: str, options: Options) -> bool:
    """Whether a line consists of several options and nothing else ("left B. right", "left or right")."""
    present, rest = _find_options(normalize(line), options)
    return len(present) > 1 and all(len(word) == 1 or word in _JOINS for word in rest.split())


def _find_options(normal: str, options: Options) -> tuple[list[str], str]:
    """Normal forms of the options in a normalized text, the longer of nested ones first; and the text without them."""
    rest = f" {normal} "
    present = []
    for form in sorted(options.by_normal, key=len, reverse=True):
        if len(form) > 1 and f" {form} " in rest:  # a lone letter in a sentence is a word and not an option's text
            present.append(form)
            rest = rest.replace(f" {form} ", " ¤ ")
    return present, rest


def _named_letters(text: str, options: Options, pattern: re.Pattern[str]) -> set[str]:
    """Options whose letter the pattern finds ("the answer is B", "option B") and the text does not reject."""
    named = set()
    for match in pattern.finditer(text):
        following = text[match.end() : match.end() + _REACH_CHARACTERS]
        preceding = text[max(0, match.start() - _REACH_CHARACTERS) : match.start()]
        if _REJECTED_BEFORE.search(preceding) or denies_preceding(f" {mark_clauses(following)}"):
            continue
        another = _ANOTHER_LETTER.match(following) if _JOIN.match(following) else None
        letters = (match[1] or match[2], another[1] or another[2] if another else "")
        named |= {option for letter in letters if letter and (option := options.lettered(letter))}
    return named


def _lettered_lines(lines: list[tuple[str, str]], options: Options) -> set[str]:
    """Options that occur as a line of letter and text. One complete list repeats the question and does not count."""
    counts = Counter(option for option, line in lines if options.by_normal.get(normalize(line)) == option)
    if all(counts[option] for option in options.texts):
        counts = counts - Counter(set(options.texts)) or counts
    return set(counts)


def _read_contained(text: str, options: Options) -> tuple[str | None, str]:
    """Read the one option whose text occurs in the answer and is not denied; the longer one of two nested options."""
    if _OTHER_OPTIONS.search(text):
        text = "".join(part for part in _SENTENCE.split(text) if not _OTHER_OPTIONS.search(part))
    normal = normalize(text)
    if is_noncommittal(normal):
        return None, "noncommittal"
    present, _ = _find_options(normal, options)
    if not present:
        return None, "no_candidate"
    marked = mark_clauses(text)
    affirmed = [form for form in present if is_affirmed(form, marked)]
    if not affirmed:
        return None, "denied"
    option = options.by_normal[affirmed[0]]
    return (option, "") if len(affirmed) == 1 and option else (None, "ambiguous")
