"""Table cells as the fields of a question: texts, options in all their forms, and a gold that may be a letter."""

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lowmed.data.dataset import is_yes_no
from lowmed.sample import KINDS, LETTERS, Kind

# The letters before options that stand in one text: "A. x B. y", "(A) x (B) y", each on its line or not.
_LETTERED = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[.):]\s*(?=\S)")
_OWN_LETTER = re.compile(r"\(?([A-Za-z])(?:[.):]|\s*[-–]\s)\s*(.*)", re.DOTALL)
_LEAD_IN = re.compile(r"\s*\(?(?:answer )?(?:options|choices)(?: are)?\)?\s*:?\s*$", re.IGNORECASE)
_KINDS: dict[str, Kind] = {
    "closed": "closed", "close": "closed", "close-ended": "closed", "closed-ended": "closed", "yes/no": "closed",
    "yesno": "closed", "binary": "closed", "open": "open", "open-ended": "open", "choice": "choice", "mcq": "choice",
    "multiple choice": "choice", "multiple-choice": "choice", "json": "json", "text": "text",
}  # fmt: skip


def text(cell: Any) -> str:
    """A cell as text without stray white space; "" for what is empty.

    Raises:
        ValueError: the cell holds a list or an object.
    """
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if isinstance(cell, bytes | list | tuple | dict | set) or hasattr(cell, "shape"):
        raise ValueError(f"a cell holds a {type(cell).__name__} where a text belongs")
    return " ".join(str(cell).replace("\0", "").encode(errors="ignore").decode().split())


def listed(cell: Any, separators: str) -> list[Any]:
    """A cell that may hold several values as a list: a list, JSON, or a text with separators."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, Mapping):
        return [cell[key] for key in sorted(cell, key=str)]
    if isinstance(cell, list | tuple):
        return list(cell)
    shown = text(cell)
    if shown[:1] in ("[", "{"):
        parsed = _parsed(str(cell))
        if isinstance(parsed, list | dict):
            return listed(parsed, separators)
    return [part.strip() for part in re.split(f"[{re.escape(separators)}]", shown) if part.strip()]


def options(cell: Any) -> tuple[str, ...]:
    """The options of one cell: a list, a dict by letter, JSON, or one text with letters or separators."""
    if isinstance(cell, str):
        lettered, _ = lettered_options(cell)
        if lettered:
            return lettered
    return without_letters(filter(None, (text(value) for value in listed(cell, "|;\n"))))


def without_letters(texts: Iterable[str]) -> tuple[str, ...]:
    """Options without the letters before them, where each has its own ("A: x", "B: y")."""
    shown = tuple(texts)
    own = [_OWN_LETTER.fullmatch(option) for option in shown]
    if len(shown) > 1 and all(result and result[1].upper() == LETTERS[at] for at, result in enumerate(own) if at < 26):
        return tuple(result[2].strip() for result in own if result)
    return shown


def lettered_options(question: str) -> tuple[tuple[str, ...], str]:
    """The options that stand in a question's text after their letters, and the question without them."""
    starts: list[re.Match[str]] = []
    for result in _LETTERED.finditer(question):
        if result[1] == LETTERS[len(starts)] and len(starts) < len(LETTERS) - 1:
            starts.append(result)
    if len(starts) < 2:
        return (), question
    ends = [result.start() for result in starts[1:]] + [len(question)]
    found_options = tuple(
        text(question[start.end() : end]).rstrip(",;") for start, end in zip(starts, ends, strict=True)
    )
    if not all(found_options):
        return (), question
    return found_options, text(_LEAD_IN.sub("", question[: starts[0].start()]))


def gold(answer: str, choices: tuple[str, ...], *, is_letter: bool) -> str:
    """The text of the right option, from its text or its letter; `is_letter` says that the column holds letters.

    Raises:
        ValueError: it is none of the options, or may be one by its text and another by its letter.
    """
    own = _OWN_LETTER.fullmatch(answer)
    by_letter = _by_letter(answer.strip("().: "), choices)
    by_text = next((option for option in choices if option.casefold() == answer.casefold()), None)
    if is_letter and by_letter:
        return by_letter
    if by_text and by_letter and by_text != by_letter:
        raise ValueError(f"the answer {answer!r} is the text of one option and the letter of another")
    if by_text or by_letter:
        return by_text or by_letter or ""
    if own and (option := _by_letter(own[1], choices)) and option.casefold() == own[2].strip().casefold():
        return option
    raise ValueError("the answer is neither one of the options nor the letter of one" if answer else "no answer")


def kind(label: str, answer: str, choices: tuple[str, ...]) -> Kind:
    """The kind of a question: a choice where there are options, else as labelled, else by its answer."""
    if choices:
        return "choice"
    named = _KINDS.get(label.casefold())
    if named in KINDS and named != "choice":
        return "closed" if is_yes_no(answer) and named == "open" else named
    return "closed" if is_yes_no(answer) else "open"


def _by_letter(letter: str, choices: tuple[str, ...]) -> str | None:
    at = LETTERS.find(letter.upper()) if len(letter) == 1 else -1
    return choices[at] if 0 <= at < len(choices) else None


def _parsed(cell: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None
