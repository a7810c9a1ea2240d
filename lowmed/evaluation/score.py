"""Grade stored completions, from any source, by the rules of `lowmed.answer`; no model and no images."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lowmed import answer
from lowmed.answer import Question
from lowmed.answer.mentions import prepare_options
from lowmed.answer.report import report_of
from lowmed.boxes import THOUSANDTHS, Size, gold_mistake, parse_boxes
from lowmed.data.ingest import cells
from lowmed.data.ingest.golds import chosen_option, split_tags
from lowmed.data.ingest.listed_options import ListedOptions, read_listed
from lowmed.errors import DataError
from lowmed.evaluation.box_metrics import count_boxes
from lowmed.evaluation.field_metrics import RowFields, count_fields
from lowmed.evaluation.report_scores import score_report
from lowmed.sample import KINDS, LETTERS, Kind

Row = Mapping[str, Any]

_REQUIRED = ("id", "question", "answer", "completion")
TRUNCATED = frozenset(("length", "max_tokens", "MAX_TOKENS"))  # finish reasons of different servers
FIX = "a row holds id, question, answer and completion; `lowmed score --help` shows one"


def score_rows(rows: Iterable[Row], name: str = "row") -> Iterator[dict[str, Any]]:
    """Add the grade to each row: `kind outcome strict_outcome parsed parse_source flags f1 contradiction fields boxes`.

    `outcome` is the lenient grade. `f1` is the best token F1 with a gold answer, for open questions only. `fields` are
    the counts of a JSON answer, `boxes` those of an answer about boxes, and `report` the scores of a report. All other
    fields pass through. Error messages name a row by `name` and its number.

    Raises:
        DataError: a row lacks a field, or its gold answer is invalid.
    """
    for number, row in enumerate(rows, 1):
        yield score_row(row, f"{name}:{number}")


def score_row(row: Row, where: str) -> dict[str, Any]:
    """Add the grade to one row.

    Raises:
        DataError: as `score_rows`.
    """
    question = question_of_row(row, where)
    completion = row["completion"]
    if completion is not None and not isinstance(completion, str):
        raise DataError(f"completion is {type(completion).__name__}, not a text", where, FIX)
    finish_reason = "length" if is_truncated(row) else "stop"
    extracted = answer.read(completion or "", question, finish_reason)
    grade = answer.grade(extracted, question)
    f1, contradiction = _overlap(extracted.value, question, grade.outcome)
    in_question = question.kind == "choice" and not row.get("options") and question.options != tuple(LETTERS)
    return {
        **row,
        **({"options": list(question.options), "answer": _texts(row["answer"], question)} if in_question else {}),
        "kind": question.kind,
        "outcome": grade.outcome,
        "strict_outcome": grade.strict_outcome,
        "parsed": extracted.value,
        "parse_source": extracted.source,
        "flags": list(extracted.flags),
        "tier": _tier(completion or "", question, finish_reason, grade.outcome),
        "f1": f1,
        "fields": _fields(completion or "", question, finish_reason),
        "boxes": count_boxes(extracted.value, question),
        "report": score_report(report_of(completion or "", finish_reason), question.golds)
        if question.kind == "report"
        else None,
        "contradiction": list(contradiction),
    }


def _texts(gold: Any, question: Question) -> Any:
    """The gold answer of a choice as texts, if it names options by numbers; letters stay."""
    is_letter = isinstance(gold, str) and gold.strip("()[]. ").isalpha()
    return gold if is_letter else question.golds[0] if len(question.golds) == 1 else list(question.golds)


def is_truncated(row: Row) -> bool:
    """Whether the token limit cut the completion of a row."""
    return str(row.get("finish_reason")) in TRUNCATED


def _tier(completion: str, question: Question, finish_reason: str, outcome: str) -> answer.Tier:
    if outcome == "correct":
        return "exact"
    return answer.tier(completion, question, finish_reason) if question.kind in ("open", "closed") else "none"


def _fields(completion: str, question: Question, finish_reason: str) -> RowFields | None:
    if question.kind != "json":
        return None
    return count_fields(answer.extract(completion, finish_reason).text, question.golds)


def _overlap(value: str | None, question: Question, outcome: str) -> tuple[float | None, tuple[str, ...]]:
    if question.kind in ("choice", "json", "boxes", "report") or (
        question.kind == "closed" and any(map(answer.is_yes_no, question.golds))
    ):
        return None, ()
    has_f1 = question.kind in ("open", "text")
    if outcome == "correct":
        return (1.0 if has_f1 else None), ()
    if value is None:
        return (0.0 if has_f1 else None), ()
    f1, nearest = max((answer.token_f1(value, gold), gold) for gold in question.golds)
    return (f1 if has_f1 else None), answer.contradictions(value, nearest)


def question_of_row(row: Row, where: str) -> Question:
    """The question of a row: its kind, inferred if absent, and its gold answers as texts instead of letters.

    Raises:
        DataError: as `score_rows`.
    """
    missing = [field for field in _REQUIRED if field not in row]
    if missing:
        raise DataError(f"no {' and no '.join(missing)}", where, FIX)
    options = row.get("options") or ()
    if not isinstance(options, list | tuple) or not set(map(type, options)) <= {str}:
        raise DataError(
            "options is not a list of texts", where, "list the options in the order in which they were shown"
        )
    golds, text = _golds(row["answer"], where), str(row["question"])
    as_letters = not isinstance(row["answer"], list)
    if not options and row.get("kind") in (None, "", "choice"):
        text, options, golds = _options_in_question(text, golds)
        as_letters = as_letters and not options
    kind = row.get("kind") or _infer_kind(row["answer"], golds, bool(options))
    if kind not in KINDS:
        raise DataError(f"unknown kind {kind!r}", where, f"use one of {', '.join(KINDS)}, or leave kind out")
    if kind == "choice":
        shown = tuple(options) or tuple(LETTERS)
        golds = tuple(_option(gold, shown, letters=as_letters, where=where) for gold in golds)
        return Question(kind, golds, shown, text)
    if kind == "boxes":
        size, grid = (_size(row, name, where) for name in ("image_size", "box_grid"))
        if problem := (gold_mistake(golds[0], size) if min(size) else parse_boxes(golds[0])[1]):
            raise DataError(problem, where, "correct the gold boxes; they are in pixels of the original image")
        return Question(kind, golds, (), text, image_size=size, box_grid=grid if min(grid) else THOUSANDTHS)
    limits = _limits(row, golds[0], where) if kind == "number" else ("", "")
    return Question(kind, golds, (), text, str(row.get("unit") or ""), limits)


def _size(row: Row, name: str, where: str) -> Size:
    """The width and height in a field of a row; zeros without the field."""
    value = row.get(name)
    if value is None:
        return 0, 0
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(side) is int and side > 0 for side in value):
        return value[0], value[1]
    raise DataError(f"{name} is {value!r}, not a width and a height", where, "write e.g. [512, 512]")


def _limits(row: Row, gold: str, where: str) -> tuple[str, str]:
    """The smallest and the largest right number of a row, from its limits or from its tolerance."""
    if row.get("tolerance") not in (None, ""):
        try:
            return answer.limits(gold, str(row.get("unit") or ""), str(row["tolerance"]))
        except ValueError as error:
            raise DataError(str(error), where, "correct it, or name lower and upper") from error
    lower, upper = (str(row[name]) if row.get(name) is not None else "" for name in ("lower", "upper"))
    return lower, upper


def _options_in_question(question: str, golds: tuple[str, ...]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The question without its lettered options, the options, and the gold answers as texts of options.

    Without options in the question, or with a gold answer that is not one of them, there are no options.
    """
    golds_of: dict[ListedOptions, tuple[str, ...]] = {}

    def names_each(listed: ListedOptions) -> bool:
        options = cells.Options(listed.options, listed.labels)
        with contextlib.suppress(ValueError):
            golds_of[listed] = tuple(chosen_option([gold.strip()], options, is_letter=True) for gold in golds)
        return listed in golds_of

    bare, listed, _ = read_listed(question, names_each)
    return (bare, listed.options, golds_of[listed]) if listed else (question, (), golds)


def _golds(gold: Any, where: str) -> tuple[str, ...]:
    if isinstance(gold, list) and all(isinstance(text, str) for text in gold):
        golds = tuple(split_tags(text)[0] for text in gold)
    elif isinstance(gold, bool):
        golds = ("yes" if gold else "no",)
    elif isinstance(gold, str | int | float):
        golds = (split_tags(str(gold))[0],)
    elif isinstance(gold, dict | list):
        golds = (json.dumps(gold, ensure_ascii=False),)
    else:
        golds = ()
    if not golds or not all(text.strip() for text in golds):
        raise DataError("the gold answer is empty", where, "fill in the answer, or remove the row")
    return golds


def _infer_kind(gold: Any, golds: tuple[str, ...], has_options: bool) -> Kind:
    if has_options:
        return "choice"
    if all(map(answer.is_yes_no, golds)):
        return "closed"
    if isinstance(gold, str) and len(gold) == 1 and gold in LETTERS:
        return "choice"
    return "json" if isinstance(gold, dict) or golds[0].lstrip()[:1] in ("{", "[") else "open"


def _option(gold: str, options: tuple[str, ...], letters: bool, where: str) -> str:
    """The option that a gold answer names, by text or by letter."""
    offered = prepare_options(options)
    by_text = gold if gold in options else offered.by_normal.get(answer.normalize(gold))
    letter = gold.strip()
    by_letter = offered.lettered(letter) if len(letter) == 1 and letter.isupper() else None
    if letters and by_text and by_letter and by_text != by_letter:
        fix = f"write the option's text in a list, [{json.dumps(by_text)}] or [{json.dumps(by_letter)}]"
        raise DataError(f"the gold answer {gold!r} is a letter and also another option's text", where, fix)
    if by_text or by_letter:
        return by_text or by_letter or ""
    try:
        shown = cells.labelled(options)
        return chosen_option([letter], shown, is_letter=letters)  # "b", or "B. MRI"
    except ValueError:
        what = f"the gold answer {gold!r} is not among the options"
        raise DataError(what, where, "correct the answer or the options") from None
