"""Parse table cells: texts, options in every common form, and a gold answer that may be a letter."""

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from lowmed.answer import is_number
from lowmed.data.dataset import is_yes_no
from lowmed.sample import KINDS, LETTERS, Kind, Turns

# The letters before options in one text: "A. x B. y", "(A) x (B) y", on one line or several.
_LETTERED = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[.):]\s*(?=\S)")
_LETTERED_LOWER = re.compile(r"(?:^|(?<=\s))\(?([a-z])[.)]\s*(?=\S)")
_LETTER_AND_TEXT = re.compile(r"\(?([A-Za-z])(?:[.):]|\s*[-–]\s)\s*(.*)", re.DOTALL)
_LEAD_IN = re.compile(r"\s*\(?(?:answer )?(?:options|choices)(?: are)?\)?\s*:?\s*$", re.IGNORECASE)
_KINDS: dict[str, Kind] = {
    "closed": "closed", "close": "closed", "close-ended": "closed", "closed-ended": "closed", "yes/no": "closed",
    "yesno": "closed", "binary": "closed", "open": "open", "open-ended": "open", "choice": "choice", "mcq": "choice",
    "multiple choice": "choice", "multiple-choice": "choice", "json": "json", "text": "text",
    "number": "number", "numeric": "number", "numerical": "number", "integer": "number", "decimal": "number",
    "float": "number", "date": "number", "ordered": "ordered", "sequence": "ordered", "ranking": "ordered",
}  # fmt: skip


def text(cell: Any) -> str:
    """A cell as text without stray white space; "" for an empty one.

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
        raise ValueError(f"a cell holds a {type(cell).__name__} instead of a text")
    return " ".join(str(cell).replace("\0", "").encode(errors="ignore").decode().split())


def to_list(cell: Any, separators: str) -> list[Any]:
    """A cell with several values as a list: a list, JSON, or a text with any of the separators."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, Mapping):
        return [cell[key] for key in sorted(cell, key=str)]
    if isinstance(cell, list | tuple):
        return list(cell)
    content = text(cell)
    if content[:1] in ("[", "{"):
        parsed = _parse(str(cell))
        if isinstance(parsed, list | dict):
            return to_list(parsed, separators)
    return [part.strip() for part in re.split(f"[{re.escape(separators)}]", content) if part.strip()]


def turns(cell: Any) -> Turns:
    """Earlier turns of a conversation: a list of pairs of user text and assistant text, or JSON of one.

    Raises:
        ValueError: the cell holds something else.
    """
    if isinstance(cell, str) and cell.strip():
        cell = _parse(cell) or "no list"
    pairs = cell.tolist() if hasattr(cell, "tolist") else cell or ()
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise ValueError("the history is not a list of [user text, assistant text]")
    return tuple((text(user), text(assistant)) for user, assistant in pairs)


def holds_turns(cell: Any) -> bool:
    """Whether a cell is made for `turns`. A column `history` may also hold a text, the history of a disease."""
    return isinstance(cell, list | tuple) or hasattr(cell, "tolist") or str(cell).lstrip().startswith("[[")


def options(cell: Any) -> tuple[str, ...]:
    """The options of one cell: a list, a dict by letter, JSON, or one text with letters or separators."""
    if isinstance(cell, str):
        lettered, _ = lettered_options(cell)
        if lettered:
            return lettered
    return without_letters(filter(None, (text(value) for value in to_list(cell, "|;\n"))))


def without_letters(texts: Iterable[str]) -> tuple[str, ...]:
    """The options without their letters, if every option begins with its own ("A: x", "B: y")."""
    texts = tuple(texts)
    parts = [_LETTER_AND_TEXT.fullmatch(option) for option in texts]
    if len(texts) > 1 and all(part and part[1].upper() == LETTERS[at] for at, part in enumerate(parts) if at < 26):
        return tuple(part[2].strip() for part in parts if part)
    return texts


def lettered_options(question: str) -> tuple[tuple[str, ...], str]:
    """The lettered options inside a question's text, and the question without them."""
    starts = _in_order(_LETTERED.finditer(question))
    if len(starts) < 2:
        starts = _in_order(_LETTERED_LOWER.finditer(question))
    if len(starts) < 2:
        return (), question
    ends = [start.start() for start in starts[1:]] + [_end_of_last(question, starts)]
    parts = tuple(text(question[start.end() : end]).rstrip(",;") for start, end in zip(starts, ends, strict=True))
    if not all(parts):
        return (), question
    return parts, text(_LEAD_IN.sub("", question[: starts[0].start()]))


def _in_order(matches: Iterable[re.Match[str]]) -> list[re.Match[str]]:
    """The matches that continue the alphabet from its first letter."""
    starts: list[re.Match[str]] = []
    for match in matches:
        if match[1].upper() == LETTERS[len(starts)] and len(starts) < len(LETTERS) - 1:
            starts.append(match)
    return starts


def _end_of_last(question: str, starts: list[re.Match[str]]) -> int:
    """Where the last option ends: at its line, if no other option takes several lines. An instruction may follow it."""
    others = [question[start.end() : end.start()].strip() for start, end in pairwise(starts)]
    line = question.find("\n", starts[-1].end())
    return len(question) if line < 0 or any("\n" in option for option in others) else line


def gold(answer: str, choices: tuple[str, ...], *, is_letter: bool) -> str:
    """The text of the correct option, from its text or its letter.

    Args:
        answer: the cell of the answer.
        choices: the options.
        is_letter: whether the column holds letters.

    Raises:
        ValueError: the answer matches no option, or one option by its text and another by its letter.
    """
    parts = _LETTER_AND_TEXT.fullmatch(answer)
    by_letter = _by_letter(answer.strip("().: "), choices)
    by_text = next((option for option in choices if option.casefold() == answer.casefold()), None)
    if is_letter and by_letter:
        return by_letter
    if by_text and by_letter and by_text != by_letter:
        raise ValueError(f"the answer {answer!r} is the text of one option and the letter of another")
    if by_text or by_letter:
        return by_text or by_letter or ""
    if parts and (option := _by_letter(parts[1], choices)) and option.casefold() == parts[2].strip().casefold():
        return option
    raise ValueError("the answer is neither one of the options nor the letter of one" if answer else "no answer")


def kind(label: str, answer: str, choices: tuple[str, ...]) -> Kind:
    """The kind of a question: a choice if it has options, else by its label, else by its answer."""
    if choices:
        return "choice"
    labelled = _KINDS.get(label.casefold())
    if labelled == "number" and not is_number(answer):
        labelled = "open"
    if labelled in KINDS and labelled != "choice":
        return "closed" if is_yes_no(answer) and labelled == "open" else labelled
    return "closed" if is_yes_no(answer) else "open"


def _by_letter(letter: str, choices: tuple[str, ...]) -> str | None:
    at = LETTERS.find(letter.upper()) if len(letter) == 1 else -1
    return choices[at] if 0 <= at < len(choices) else None


def _parse(cell: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None
