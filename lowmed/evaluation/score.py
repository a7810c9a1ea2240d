"""Grade stored completions, from any source, by the rules of `lowmed.answer`; no model and no images."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from lowmed import answer
from lowmed.answer import Question
from lowmed.answer.mentions import prepare_options
from lowmed.answer.quantity import parse_quantity
from lowmed.errors import DataError
from lowmed.evaluation.field_metrics import RowFields, count_fields, field_metrics
from lowmed.evaluation.records import ScoreMetrics, ScoreSummary
from lowmed.sample import KINDS, LETTERS, Kind

Row = Mapping[str, Any]

_REQUIRED = ("id", "question", "answer", "completion")
_TRUNCATED = frozenset(("length", "max_tokens", "MAX_TOKENS"))  # finish reasons of different servers
_FIX = "a row holds id, question, answer and completion; `lowmed score --help` shows one"


def load(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON-lines file.

    Raises:
        DataError: the file is missing, or a line is not one JSON object.
    """
    if not path.is_file():
        raise DataError("the file does not exist", str(path), "name a file with one JSON object a line")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line.decode())
            except (ValueError, RecursionError) as error:
                what = "the line is empty" if not line.strip() else f"the line is not JSON in UTF-8: {error}"
                raise DataError(what, f"{path}:{number}", "write one JSON object a line") from None
            if not isinstance(row, dict):
                raise DataError("the line is not a JSON object", f"{path}:{number}", _FIX)
            yield row


def score_rows(rows: Iterable[Row], name: str = "row") -> Iterator[dict[str, Any]]:
    """Add the grade to each row: `kind outcome strict_outcome parsed parse_source flags f1 contradiction fields`.

    `outcome` is the lenient grade. `f1` is the best token F1 with a gold answer, for open questions only. `fields` are
    the counts of a JSON answer. All other fields pass through. Error messages name a row by `name` and its number.

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
        raise DataError(f"completion is {type(completion).__name__}, not a text", where, _FIX)
    finish_reason = "length" if row.get("finish_reason") in _TRUNCATED else "stop"
    extracted = answer.read(completion or "", question, finish_reason)
    grade = answer.grade(extracted, question)
    f1, contradiction = _overlap(extracted.value, question, grade.outcome)
    return {
        **row,
        "kind": question.kind,
        "outcome": grade.outcome,
        "strict_outcome": grade.strict_outcome,
        "parsed": extracted.value,
        "parse_source": extracted.source,
        "flags": list(extracted.flags),
        "f1": f1,
        "fields": _fields(completion or "", question, finish_reason),
        "contradiction": list(contradiction),
    }


def _fields(completion: str, question: Question, finish_reason: str) -> RowFields | None:
    if question.kind != "json":
        return None
    return count_fields(answer.extract(completion, finish_reason).text, question.golds)


def _overlap(value: str | None, question: Question, outcome: str) -> tuple[float | None, tuple[str, ...]]:
    if question.kind in ("choice", "json") or (
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
        raise DataError(f"no {' and no '.join(missing)}", where, _FIX)
    options = row.get("options") or ()
    if not isinstance(options, list | tuple) or not set(map(type, options)) <= {str}:
        raise DataError(
            "options is not a list of texts", where, "list the options in the order in which they were shown"
        )
    golds = _golds(row["answer"], where)
    kind = row.get("kind") or _infer_kind(row["answer"], golds, bool(options))
    if kind not in KINDS:
        raise DataError(f"unknown kind {kind!r}", where, f"use one of {', '.join(KINDS)}, or leave kind out")
    if kind == "choice":
        shown = tuple(options) or tuple(LETTERS)
        golds = tuple(_option(gold, shown, letters=not isinstance(row["answer"], list), where=where) for gold in golds)
        return Question(kind, golds, shown, str(row["question"]))
    limits = _limits(row, golds[0]) if kind == "number" else ("", "")
    return Question(kind, golds, (), str(row["question"]), str(row.get("unit") or ""), limits)


def _limits(row: Row, gold: str) -> tuple[str, str]:
    """The smallest and the largest right number of a row, from its limits or from its relative tolerance."""
    quantity = parse_quantity(gold)
    if quantity and row.get("tolerance") is not None:
        margin = abs(quantity.value) * Decimal(str(row["tolerance"]))
        return str(quantity.value - margin), str(quantity.value + margin)
    lower, upper = (str(row[name]) if row.get(name) is not None else "" for name in ("lower", "upper"))
    return lower, upper


def _golds(gold: Any, where: str) -> tuple[str, ...]:
    if isinstance(gold, list) and all(isinstance(text, str) for text in gold):
        golds = tuple(gold)
    elif isinstance(gold, bool):
        golds = ("yes" if gold else "no",)
    elif isinstance(gold, str | int | float):
        golds = (str(gold),)
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
    raise DataError(f"the gold answer {gold!r} is not among the options", where, "correct the answer or the options")


def summarize(scored: Iterable[Row]) -> ScoreSummary:
    """Metrics of scored rows: accuracies, unread and truncated shares; overall, by kind and by modality."""
    rows = list(scored)
    return ScoreSummary(
        rules_version=answer.RULES_VERSION,
        **dict(_metrics(rows)),
        by_kind=_by(rows, lambda row: str(row["kind"])),
        by_modality=_by(rows, lambda row: str(row.get("modality") or "")),
    )


def _by(rows: list[Row], key: Callable[[Row], str]) -> dict[str, ScoreMetrics]:
    cells: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if key(row):
            cells[key(row)].append(row)
    return {name: _metrics(cells[name]) for name in sorted(cells)}


def _metrics(rows: list[Row]) -> ScoreMetrics:
    lenient, strict = Counter(row["outcome"] for row in rows), Counter(row["strict_outcome"] for row in rows)
    f1 = [row["f1"] for row in rows if row["f1"] is not None]
    flags = Counter(flag for row in rows for flag in row["contradiction"])

    def share(count: int) -> float | None:
        return count / len(rows) if rows else None

    return ScoreMetrics(
        n=len(rows),
        outcomes={name: lenient[name] for name in ("correct", "incorrect", "unread")},
        strict_outcomes={name: strict[name] for name in ("correct", "incorrect", "unread")},
        accuracy=share(lenient["correct"]),
        strict_accuracy=share(strict["correct"]),
        unread_rate=share(lenient["unread"]),
        truncated_rate=share(sum(row.get("finish_reason") in _TRUNCATED for row in rows)),
        token_f1=sum(f1) / len(f1) if f1 else None,
        laterality_error_rate=share(flags["laterality"]),
        polarity_error_rate=share(flags["polarity"]),
        fields=field_metrics(rows),
    )
