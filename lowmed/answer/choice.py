"""Reads which option an answer text names."""

import re
from collections.abc import Sequence

from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.mentions import Options, prepare_options
from lowmed.answer.negation import is_affirmed, is_noncommittal, mark_clauses
from lowmed.answer.normalize import normalize, strip_markup
from lowmed.answer.yes_no import NO, YES, read_yes_no

_ONLY_LETTER = re.compile(rf"(?:{one_of(ALL.letter_lead_ins)})?[(\[{{]?\s*([a-z])\s*[)\]}}]?\s*[.:。]?", re.IGNORECASE)
_LETTER_AND_TEXT = re.compile(r"\(?([A-Za-z])(?:[)\]][).:\]]*\s*|[.:]+\s*|\s+-\s+)(\S.*)", re.DOTALL)
_SENTENCE = re.compile(r"(?<=[.;\n])")
_OTHER_OPTIONS = re.compile(one_of(ALL.other_options), re.IGNORECASE)


def read_choice(text: str, shown: Sequence[str], question: str = "") -> tuple[str | None, str]:
    """Read the option that an answer text names; None and the problem if there is no single one.

    A lone letter or the complete text of an option decides at once; `verdict.py` reads longer texts.
    """
    options = prepare_options(tuple(shown))
    bare = strip_markup(text)
    lone_letter = _ONLY_LETTER.fullmatch(bare)
    if lone_letter and (option := options.lettered(lone_letter[1])):
        same_text = options.by_normal.get(lone_letter[1].lower(), option)
        return (option, "") if same_text == option else (None, "ambiguous")  # options such as blood groups
    lettered = _LETTER_AND_TEXT.fullmatch(bare)
    if lettered and (option := options.lettered(lettered[1])):
        named = options.by_normal.get(normalize(lettered[2]))
        if named:
            return (option, "") if named == option else (None, "letter_text_conflict")
    if option := options.by_normal.get(normalize(bare)):
        return option, ""
    if lone_letter:
        return None, "letter_not_offered"
    from lowmed.answer.verdict import read_verdict  # compiling its patterns takes longer than all other imports

    value, problem = read_verdict(text, options, question)
    if value is None and problem == "no_candidate":
        return _read_yes_no(text, options)
    return value, problem


def _read_yes_no(text: str, options: Options) -> tuple[str | None, str]:
    """Read a choice between yes and no, or true and false."""
    words = {
        "yes": [form for form in options.normal if form in YES],
        "no": [form for form in options.normal if form in NO],
    }
    if not any(words.values()):
        return None, "no_candidate"
    value, problem = read_yes_no(text)
    if value is None or len(words[value]) != 1:
        return None, problem or "no_candidate"
    return options.by_normal[words[value][0]], ""


def read_named(text: str, shown: Sequence[str]) -> tuple[str | None, str]:
    """Read an option that was shown without letters: its complete text, or the only one in the text without denial."""
    options = prepare_options(tuple(shown))
    text = strip_markup(text)
    option = options.by_normal.get(normalize(text))
    return (option, "") if option else _read_contained(text, options)


def _find_options(normal: str, options: Options) -> list[str]:
    """Normal forms of the options in a normalized text; of nested ones only the longest."""
    rest = f" {normal} "
    present = []
    for form in sorted(options.by_normal, key=len, reverse=True):
        if len(form) > 1 and f" {form} " in rest:  # a lone letter in a sentence is a word and not an option's text
            present.append(form)
            rest = rest.replace(f" {form} ", " ¤ ")
    return present


def _read_contained(text: str, options: Options) -> tuple[str | None, str]:
    if _OTHER_OPTIONS.search(text):
        text = "".join(part for part in _SENTENCE.split(text) if not _OTHER_OPTIONS.search(part))
    normal = normalize(text)
    if is_noncommittal(normal):
        return None, "noncommittal"
    present = _find_options(normal, options)
    if not present:
        return None, "no_candidate"
    marked = mark_clauses(text)
    affirmed = [form for form in present if is_affirmed(form, marked)]
    if not affirmed:
        return None, "denied"
    option = options.by_normal[affirmed[0]]
    return (option, "") if len(affirmed) == 1 and option else (None, "ambiguous")
