"""Reads yes, no, or one of the answers that the question itself offers."""

import re
from collections.abc import Callable

from lowmed.answer.lexicon import ALL, LEXICONS, Lexicon, one_of
from lowmed.answer.negation import is_noncommittal
from lowmed.answer.normalize import normalize, strip_markup

YES, NO = frozenset(ALL.yes), frozenset(ALL.no)
_YES_IN_TEXT, _NO_IN_TEXT = frozenset(ALL.yes_in_text), frozenset(ALL.no_in_text)


def _opening(words: Callable[[Lexicon], tuple[str, ...]]) -> re.Pattern[str]:
    """The pattern of a text that opens with one of the words, set apart from the rest by punctuation."""
    alternatives = [f"{one_of(words(lexicon))}(?:{lexicon.opening_end})" for lexicon in LEXICONS]
    return re.compile(rf"\W*{one_of(alternatives)}", re.IGNORECASE)


_OPENING_YES = _opening(lambda lexicon: lexicon.opening_yes)
_OPENING_NO = _opening(lambda lexicon: lexicon.opening_no)
_NO_AS_ANSWER = re.compile(rf"\b{one_of(ALL.no_in_text)}\b(?=\s*(?:[.,;:!?)]|$))")
_FIRST_WORD_NO = tuple(f"{word} " for word in ALL.no_in_text)
_STATES_NO = re.compile(one_of(ALL.states_no))
_REJECTS_YES = re.compile(one_of(ALL.rejects_yes))
_OR = one_of(ALL.or_words)
_LISTED = re.compile(rf"[,:]\s*([^,:?]+(?:,[^,:?]+)*?,?\s*\b(?i:{_OR})\b[^,:?]+)\?*\s*$")
# "T1, T2 or FLAIR": the list begins before its first comma.
_FIRST_LISTED = re.compile(r"(\w*[A-Z0-9]\w*)\s*$")
_LIST_SEPARATOR = re.compile(rf",|\b{_OR}\b", re.IGNORECASE)
_ARTICLE = one_of((*ALL.indefinite_articles, *ALL.definite_articles))
# Neither "T1 weighted or T2 weighted" nor the end of a longer list.
_PAIR = re.compile(
    rf"(?<![\w-])([\w-]+) {_OR} (?:{_ARTICLE} )?(?!{one_of(ALL.negators)}\b)([\w-]+)(?!\s+\1\b)(?![\w-])",
    re.IGNORECASE,
)


def is_yes_no(gold: str) -> bool:
    """Whether a gold answer means yes or no."""
    normal = normalize(gold)
    return normal in YES or normal in NO


def read_yes_no(text: str) -> tuple[str | None, str]:
    """Read `yes` or `no` from an answer text; None and the problem if there is neither.

    "no" inside a sentence is a determiner and decides nothing. "not", "normal" and "nodule" hold no answer.
    """
    text = strip_markup(text)
    normal = normalize(text)
    if normal in YES:
        return "yes", ""
    if normal in NO:
        return "no", ""
    opening_yes, opening_no = _OPENING_YES.match(text), _OPENING_NO.match(text)
    opening = opening_yes or opening_no
    is_complete_sentence = opening and opening[0][-1] in ".!\n。"  # "Yes. The cause cannot be determined."
    if not is_complete_sentence and is_noncommittal(normal):
        return None, "noncommittal"
    words = set(normal.split())
    has_yes, has_no = not words.isdisjoint(_YES_IN_TEXT), not words.isdisjoint(_NO_IN_TEXT)
    if opening_yes:
        rest = text[opening_yes.end() :].casefold()
        return (None, "ambiguous") if _NO_AS_ANSWER.match(rest.strip()) else ("yes", "")
    if opening_no:
        return (None, "ambiguous") if has_yes else ("no", "")
    if (has_yes and has_no) or _REJECTS_YES.search(normal):
        return None, "ambiguous"
    if normal.startswith(_FIRST_WORD_NO) or _STATES_NO.search(normal):
        return "no", ""
    return ("yes", "") if has_yes else (None, "no_candidate")


def offered_answers(question: str, golds: tuple[str, ...]) -> tuple[str, ...]:
    """The answers that a question offers ("lung, liver or heart"); empty unless a gold answer is one of them."""
    candidates: list[list[str]] = []
    if listed := _LISTED.search(question):
        first = _FIRST_LISTED.findall(question[: listed.start()])
        candidates.append([part.strip() for part in (*first, *_LIST_SEPARATOR.split(listed[1])) if part.strip()])
    candidates += [list(pair.groups()) for pair in _PAIR.finditer(question)]
    normal_golds = {normalize(gold) for gold in golds}
    for answers in candidates:
        normal_answers = [normalize(answer) for answer in answers]
        if len(set(normal_answers)) == len(normal_answers) > 1 and normal_golds & set(normal_answers):
            return tuple(answers)
    return ()
