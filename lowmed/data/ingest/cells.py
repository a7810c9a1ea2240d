"""Parse table cells: texts, options in every common form, and a gold answer that may be a letter."""

import ast
import datetime
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lowmed.answer import is_number
from lowmed.data.dataset import is_yes_no
from lowmed.data.ingest.listed_options import ListedOptions, listed_options
from lowmed.sample import KINDS, LETTERS, Kind, Turns

_LABEL_AND_TEXT = re.compile(
    r"[(\[（【]?(?:([A-Za-z])[.):\]）】．：、]|(\d{1,2})[.):\]）】．：、](?!\d)|([A-Za-z]|\d{1,2})\s*[-–]\s)\s*(.*)",
    re.DOTALL,
)
# What a spreadsheet writes in place of a value that it could not compute, in any language.
_CELL_ERROR = re.compile(r"#(?:N/A|[A-ZÄÖÜÉ]{2,}(?:/[0-9A-Z]+)?[!?]?(?:_[A-Z]+)?)")
_MONTHS = "jan|feb|mar|mrz|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez"
# What a spreadsheet makes of "3-4": 04-Mar, Mar-04, 4. Mrz, or the date with its time.
_MADE_DATE = re.compile(
    rf"\d{{1,2}}[-./ ]{{1,2}}(?:{_MONTHS})\.?(?:[-./ ]\d{{2,4}})?|(?:{_MONTHS})\.?[-./ ]\d{{1,4}}"
    r"|\d{4}-\d\d-\d\d[ T]00:00:00(?:\.0+)?",
    re.IGNORECASE,
)
MAX_CHARACTERS = 200_000  # of a text
_SPREADSHEET = "; a spreadsheet may have made it from a text such as 3-4: store the column as text"
_KINDS: dict[str, Kind] = {
    "closed": "closed", "close": "closed", "close-ended": "closed", "closed-ended": "closed", "yes/no": "closed",
    "yesno": "closed", "binary": "closed", "open": "open", "open-ended": "open", "choice": "choice", "mcq": "choice",
    "multiple choice": "choice", "multiple-choice": "choice", "json": "json", "text": "text", "report": "report",
    "number": "number", "numeric": "number", "numerical": "number", "integer": "number", "decimal": "number",
    "float": "number", "date": "number", "ordered": "ordered", "sequence": "ordered", "ranking": "ordered",
    "boxes": "boxes", "box": "boxes", "bbox": "boxes", "grounding": "boxes", "detection": "boxes",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a question.

    Attributes:
        texts: their texts, in the order in which they are shown.
        labels: the label of each in its table or question, such as A or 1.
    """

    texts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def text(cell: Any, *, dates: bool = False) -> str:
    """A cell as text without stray white space; "" for an empty one.

    Args:
        cell: the cell.
        dates: whether a date is meant. If not, a spreadsheet may have made it from a text such as 3-4.

    Raises:
        ValueError: the cell holds a list, an object or a date, or what a spreadsheet writes for an error.
    """
    return " ".join(lines(cell, dates=dates).split())


def lines(cell: Any, *, dates: bool = False) -> str:
    """As `text`, with the line ends of the cell."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    if isinstance(cell, datetime.date | datetime.time | datetime.timedelta):
        if not dates:
            raise ValueError(f"a cell holds the {_kind_of(cell)} `{cell}`{_SPREADSHEET}")
        return str(cell).removesuffix(" 00:00:00")
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if isinstance(cell, bytes | list | tuple | dict | set) or hasattr(cell, "shape"):
        raise ValueError(f"a cell holds a {type(cell).__name__} instead of a text")
    content = str(cell).replace("\0", "").encode(errors="ignore").decode()
    if len(content) > MAX_CHARACTERS:
        raise ValueError(f"a cell holds a text of {len(content):,} characters; at most {MAX_CHARACTERS:,} are read")
    if "#" in content[:4] and _CELL_ERROR.fullmatch(content.strip()):
        raise ValueError(f"a cell holds {content.strip()}, the error of a spreadsheet")
    return content


def plain(cell: Any) -> str:
    """A cell that names something, such as a patient or a site, as text; dates and errors are names too."""
    try:
        return text(cell, dates=True)
    except ValueError:
        return str(cell) if isinstance(cell, str) else text(cell, dates=True)


def require_no_made_date(answer: str) -> None:
    """Refuse an answer that looks like a date which a spreadsheet made.

    Raises:
        ValueError: it does.
    """
    if _MADE_DATE.fullmatch(answer):
        raise ValueError(f"the answer is `{answer}`{_SPREADSHEET}")


def _kind_of(cell: Any) -> str:
    return "date" if isinstance(cell, datetime.date) else "time"


def to_list(cell: Any, separators: str) -> list[Any]:
    """A cell with several values as a list: a list, JSON, or a text with any of the separators."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, Mapping):
        return [cell[key] for key in sorted(cell, key=_natural)]
    if isinstance(cell, list | tuple):
        return list(cell)
    if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{"):
        parsed = parse(cell)
        if isinstance(parsed, list | dict):
            return to_list(parsed, separators)
    content = text(cell)
    return [part.strip() for part in re.split(f"[{re.escape(separators)}]", content) if part.strip()]


def turns(cell: Any) -> Turns:
    """Earlier turns of a conversation: a list of pairs of user text and assistant text, or JSON of one.

    Raises:
        ValueError: the cell holds something else.
    """
    if isinstance(cell, str) and cell.strip():
        cell = parse(cell) or "no list"
    pairs = cell.tolist() if hasattr(cell, "tolist") else cell or ()
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise ValueError("the history is not a list of [user text, assistant text]")
    return tuple((text(user), text(assistant)) for user, assistant in pairs)


def holds_turns(cell: Any) -> bool:
    """Whether a cell is made for `turns`. A column `history` may also hold a text, the history of a disease."""
    return isinstance(cell, list | tuple) or hasattr(cell, "tolist") or str(cell).lstrip().startswith("[[")


def options(cell: Any) -> Options:
    """The options of one cell: a list, a dict by label, JSON, or one text with labels or separators."""
    if isinstance(cell, str):
        listed = max(listed_options(cell), key=_length, default=None)
        if listed and not listed.question and not listed.text_after:
            return Options(listed.options, listed.labels)
        parsed = parse(cell) if cell.lstrip()[:1] == "{" else None
        cell = parsed if isinstance(parsed, dict) else cell
    if isinstance(cell, Mapping):
        keys = sorted(cell, key=_natural)
        return labelled([text(cell[key]) for key in keys], [str(key).strip().upper() for key in keys])
    return labelled([text(value) for value in to_list(cell, "|;\n")])


def labelled(texts: Sequence[str], labels: Sequence[str] = tuple(LETTERS)) -> Options:
    """The options that have a text, with their labels; a label that begins its own text is removed from all of them.

    Args:
        texts: the texts in order; "" for an unused option.
        labels: the labels in order.
    """
    parts = [label_and_text(option) for option in texts]
    if len(texts) > 1 and all(_is_label(label, at) for at, (label, _) in enumerate(parts)):
        labels, texts = [label for label, _ in parts], [rest for _, rest in parts]
    used = [(option, label) for option, label in zip(texts, labels, strict=False) if option]
    used += [(option, "") for option in texts[len(labels) :] if option]
    return Options(tuple(option for option, _ in used), tuple(label for _, label in used))


def label_and_text(answer: str) -> tuple[str, str]:
    """The label and the text of an answer such as `B. MRI`; "" and the answer if it begins with no label."""
    parts = _LABEL_AND_TEXT.fullmatch(answer)
    return ((parts[1] or parts[2] or parts[3]).upper(), parts[4].strip()) if parts else ("", answer)


def _natural(key: Any) -> tuple[int, str]:
    """A sort key that puts 2 before 10."""
    name = str(key)
    return (int(name) if name.isdecimal() else 0), name


def _length(listed: ListedOptions) -> int:
    return len(listed.options)


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


def _is_label(label: str, at: int) -> bool:
    return label == str(at + 1) or (at < len(LETTERS) and label.upper() == LETTERS[at])


def parse(cell: str) -> Any:
    """The value that a cell holds as JSON or as a Python literal; None if it holds neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None
