"""Reads yes, no, or one of the answers that the question itself offers."""

import re
from collections.abc import Callable, Sequence

import regex

from lowmed.answer.lexicon import ALL, LEXICONS, Lexicon, one_of
from lowmed.answer.negation import is_noncommittal
from lowmed.answer.normalize import normalize, strip_markup

YES, NO = frozenset(ALL.yes), frozenset(ALL.no)
_YES_IN_TEXT = frozenset(ALL.yes_in_text)
_NO_IN_TEXT = frozenset((*ALL.no_in_text, *ALL.opening_no))
_STATEMENT_END = regex.compile(
    rf"(?<=[.!?…])\s+|(?<=[。！？؟])|\n+|(?<=[,.…–;-])\s*(?={one_of(ALL.corrections)}\b)", regex.IGNORECASE
)
_LEAD_IN = rf"(?:(?:{one_of((*ALL.conclusions, *ALL.corrections, *ALL.answer_phrases))})[\s,:.…–-]*){{0,4}}"


def _opening(words: Callable[[Lexicon], tuple[str, ...]]) -> "regex.Pattern[str]":
    """The pattern of a statement that opens with one of the words, set apart from the rest by punctuation."""
    alternatives = [
        f"{one_of(sorted(words(lexicon), key=len, reverse=True))}(?:{lexicon.opening_end})" for lexicon in LEXICONS
    ]
    return regex.compile(rf"\W*{_LEAD_IN}\W*{one_of(alternatives)}", regex.IGNORECASE)


_OPENING_YES = _opening(lambda lexicon: lexicon.opening_yes)
_OPENING_NO = _opening(lambda lexicon: lexicon.opening_no)
_PHRASE = regex.compile(one_of(ALL.answer_phrases), regex.IGNORECASE)
_NUMBER_SIGN = regex.compile(r"\b[Nn]o\. (?=\d)")
_NOT_NO = regex.compile(rf"\W*{one_of(ALL.not_no)}", regex.IGNORECASE)
_NO_AS_ANSWER = regex.compile(
    rf"(?:^|[,;:]\s*|\b{one_of(ALL.and_words)} ){one_of(ALL.no_in_text)}(?=\s*(?:[.,;:!?)]|$))"
)
_FIRST_WORD_NO = tuple(f"{word} " for word in ALL.no_in_text)
_STATES_NO = regex.compile(one_of(ALL.states_no))
_REJECTS_YES = regex.compile(one_of(ALL.rejects_yes))
_CORRECTED = regex.compile(one_of((*ALL.second_thoughts, *ALL.withdrawals, *ALL.conclusions)))
_REVISED = regex.compile(one_of((*ALL.second_thoughts, *ALL.withdrawals)))
_HYPOTHETICAL = regex.compile(one_of(ALL.hypotheticals), regex.IGNORECASE)
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

    A statement counts if it opens with yes or no, or announces one of them. A later statement that opens with the
    opposite counts instead if it corrects or concludes ("actually, no"); otherwise the answer is ambiguous. "no"
    inside a sentence is a determiner and decides nothing; "not", "normal" and "no doubt" hold no answer.
    """
    text = strip_markup(text)
    normal = normalize(text)
    if normal in YES:
        return "yes", ""
    if normal in NO:
        return "no", ""
    opened: str | None = None
    revised = False
    text = _NUMBER_SIGN.sub("number ", text)
    statements = [part.strip() for part in _STATEMENT_END.split(text) if part and part.strip()]
    for statement in statements:
        value = None if _HYPOTHETICAL.search(statement) else _opened(statement)
        corrects = revised or _CORRECTED.search(statement.casefold()) is not None
        revised = _REVISED.search(statement.casefold()) is not None
        if value == "ambiguous" or (value and opened and value != opened and not corrects):
            return None, "ambiguous"
        if opened and revised and is_noncommittal(normalize(statement)):
            return None, "revoked"
        if value and is_noncommittal(normalize(statement)):
            return None, "noncommittal"
        opened = value or opened
    if opened:
        return opened, ""
    if is_noncommittal(normal):
        return None, "noncommittal"
    return _read_words(statements, normal)


def _opened(statement: str) -> str | None:
    """The answer with which a statement opens; "ambiguous" if it holds both."""
    if _NOT_NO.match(statement):
        return None
    if phrase := _PHRASE.search(statement):
        statement = statement[phrase.end() :]
    opening_no = _OPENING_NO.match(statement)
    opening_yes = None if opening_no else _OPENING_YES.match(statement)
    words = set(normalize(statement).split())
    if opening_yes:
        rest = statement[opening_yes.end() :].casefold()
        return "ambiguous" if _NO_AS_ANSWER.search(rest.strip()) else "yes"
    if opening_no:
        return "ambiguous" if not words.isdisjoint(_YES_IN_TEXT) else "no"
    return None


def _read_words(statements: Sequence[str], normal: str) -> tuple[str | None, str]:
    """Read a text in which no statement opens with yes or no."""
    if _REJECTS_YES.search(normal):
        return None, "ambiguous"
    values = set()
    for statement in statements:
        words = set(normalize(statement).split())
        if _HYPOTHETICAL.search(statement):
            continue
        if not words.isdisjoint(_YES_IN_TEXT):
            values |= {"yes", *(() if words.isdisjoint(_NO_IN_TEXT) else ("no",))}
        if _STATES_NO.search(normalize(statement)):
            values.add("no")
    if normal.startswith(_FIRST_WORD_NO) and not _NOT_NO.match(normal):
        values.add("no")
    if len(values) != 1:
        return None, "ambiguous" if values else "no_candidate"
    return values.pop(), ""


def offered_answers(question: str, golds: tuple[str, ...]) -> tuple[str, ...]:
    """The answers that a question offers ("lung, liver or heart"); empty unless a gold answer is one of them."""
    normal_golds = {normalize(gold) for gold in golds}
    for answers in offered_lists(question):
        if normal_golds & {normalize(answer) for answer in answers}:
            return answers
    return ()


def offered_lists(question: str) -> list[tuple[str, ...]]:
    """Every list of different answers that a question may offer; it may also be a list of something else."""
    candidates: list[list[str]] = []
    if listed := _LISTED.search(question):
        first = _FIRST_LISTED.findall(question[: listed.start()])
        candidates.append([part.strip() for part in (*first, *_LIST_SEPARATOR.split(listed[1])) if part.strip()])
    candidates += [list(pair.groups()) for pair in _PAIR.finditer(question)]
    return [tuple(answers) for answers in candidates if len({*map(normalize, answers)}) == len(answers) > 1]
