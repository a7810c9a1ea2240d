"""Gold answers from table cells: one or several, inside tags, or the letter of an option."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.answer import contradictions, is_yes_no, normalize
from lowmed.data.ingest import cells
from lowmed.data.ingest.cells import Options

_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_THINK_TAG = re.compile(r"<think(?:ing)?>(.*?)</think(?:ing)?>", re.IGNORECASE | re.DOTALL)
_BOXED = re.compile(r"\$?\\boxed\{(?:\\text\{)?([^{}]*)\}?\}\$?")
_LONE_LETTER = re.compile(r"[(\[]?[A-Za-z][)\].:,]*")
_LETTERS = re.compile(r"[(\[]?[A-Z][)\]]?(?:\s*(?:[,;/&+]|and|\s)\s*[(\[]?[A-Z][)\]]?)+\.?|[A-Z]{2,10}")
SEVERAL = "several options are right; a choice has one"
_LIST = re.compile(r"\s*\[\s*['\"]")  # of texts, as JSON or Python writes it


def split_tags(text: str) -> tuple[str, str]:
    """The answer and the reasoning of a text in the tags `<think>` and `<answer>`, or in `\\boxed{}`."""
    answers = _ANSWER_TAG.findall(text)
    thought = _THINK_TAG.search(text)
    rest = answers[-1] if answers else text[thought.end() :] if thought else text
    boxed = _BOXED.fullmatch(rest.strip())
    return (boxed[1] if boxed else rest).strip(), cells.text(thought[1]) if thought else ""


def gold_texts(cell: Any, *, dates: bool = False) -> tuple[str, ...]:
    """The gold answers that a cell holds, each out of its tags.

    A list of numbers is one answer, such as a box, and so is an object; both are written as JSON.

    Raises:
        ValueError: a text is destroyed, see `cells.text`.
    """
    cell = cell.tolist() if hasattr(cell, "tolist") else cell
    if isinstance(cell, str) and _LIST.match(cell):
        parsed = cells.parse(cell)
        cell = parsed if isinstance(parsed, list) else cell
    if isinstance(cell, str):
        cell = split_tags(cell)[0]
    if isinstance(cell, Mapping):
        return (json.dumps(cell, ensure_ascii=False, default=str),) if cell else ()
    if isinstance(cell, list | tuple | set):
        values = list(cell)
        if len(values) > 1 and not all(isinstance(value, str) for value in values):
            return (json.dumps(values, ensure_ascii=False, default=str),)
        texts = [text for value in values for text in gold_texts(value, dates=dates)]
        return tuple({normalize(text) or text: text for text in reversed(texts)}.values())[::-1]
    text = cells.text(cell, dates=dates)
    return (text,) if text else ()


def chosen_option(golds: Sequence[str], options: Options, *, is_letter: bool) -> str:
    """The option that the gold answers name.

    Args:
        golds: texts or labels of options.
        options: the options.
        is_letter: whether the golds come from a column of letters.

    Raises:
        ValueError: there is no gold answer, it names no option, or several options are right.
    """
    right = {_option(gold, options, is_letter=is_letter) for gold in golds}
    if not right:
        raise ValueError("no answer")
    if len(right) > 1:
        raise ValueError(SEVERAL)
    return right.pop()


def _option(gold: str, options: Options, *, is_letter: bool) -> str:
    label, rest = cells.label_and_text(gold)
    bare = gold.strip("()[]【】（）.:：、 ").upper()
    by_label = options.texts[options.labels.index(bare)] if bare and bare in options.labels else None
    by_text = next((text for text in options.texts if text.casefold() == gold.casefold()), None)
    if is_letter and by_label:
        return by_label
    if by_text and by_label and by_text != by_label:
        raise ValueError(f"the answer {gold!r} is the text of one option and the letter of another")
    if by_text or by_label:
        return by_text or by_label or ""
    by_both = options.texts[options.labels.index(label)] if label and label in options.labels else ""
    if by_both and by_both.casefold() == rest.casefold():
        return by_both
    if len(named := letters_of(gold)) > 1 and set(named) <= set(options.labels):
        raise ValueError(SEVERAL)
    if bare.isdecimal():
        raise ValueError(
            "the answer is a number; write the option's letter or text, since counting may begin at 0 or 1"
        )
    raise ValueError("the answer is neither one of the options nor the letter of one")


def letters_of(gold: str) -> list[str]:
    """Several option letters in one gold answer, such as `A,C` or `AC`; [] if it is another text."""
    letters = re.sub(r"and|[^A-Z]", "", gold) if _LETTERS.fullmatch(gold.strip()) else ""
    return list(letters) if "".join(sorted(set(letters))) == letters else []


def require_no_lone_letter(golds: Sequence[str]) -> None:
    """Refuse a letter as the gold answer of a question without options. It names an option that is not there.

    Raises:
        ValueError: a gold answer is one letter, and no short form of yes or no.
    """
    if any(map(is_lone_letter, golds)):
        raise ValueError("the answer is a letter, and the row has no options")


def require_agreement(golds: Sequence[str]) -> None:
    """Refuse accepted answers that contradict each other, such as yes and no: every completion would be right.

    Raises:
        ValueError: a gold answer contradicts the first one.
    """
    for other in golds[1:]:
        if kinds := contradictions(other, golds[0]):
            raise ValueError(f"the accepted answers contradict each other ({', '.join(kinds)})")


def is_lone_letter(gold: str) -> bool:
    """Whether a gold answer is one letter, and no short form of yes or no."""
    return _LONE_LETTER.fullmatch(gold) is not None and not is_yes_no(gold.strip("()[].:,"))
