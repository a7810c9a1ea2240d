"""Stored completions, anybody's, graded by the rules of `lowmed.answer`: pure, in input order, without model or images."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lowmed import answer
from lowmed.answer import Question
from lowmed.answer.choice import prepare_options as prepared
from lowmed.errors import DataError
from lowmed.sample import KINDS, LETTERS, Kind

Row = Mapping[str, Any]

_REQUIRED = ("id", "question", "answer", "completion")
_CUT = frozenset(("length", "max_tokens", "MAX_TOKENS"))  # what servers call a completion ended by the token limit
_FIX = "a row holds id, question, answer and completion; `lowmed score --help` shows one"


def load(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines file, one after another.

    Raises:
        DataError: the file is missing, or a line is not one JSON object.
    """
    if not path.is_file():
        raise DataError("there is no such file", str(path), "give a file with one JSON object a line")
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
    """Each row with its verdict: `kind outcome strict_outcome parsed parse_source flags f1 contradiction`.

    `outcome` is the lenient one. `f1` is the best token-F1 with a gold text, for open questions only. Every field of
    the row passes through. `name` is what an error calls the rows, followed by the row's number.

    Raises:
        DataError: a row lacks a field, or its gold answer cannot be one.
    """
    for number, row in enumerate(rows, 1):
        yield score_row(row, f"{name}:{number}")


def score_row(row: Row, where: str) -> dict[str, Any]:
    """One row with its verdict.

    Raises:
        DataError: as `score_rows`.
    """
    asked = question_of_row(row, where)
    completion = row["completion"]
    if completion is not None and not isinstance(completion, str):
        raise DataError(f"completion is {type(completion).__name__}, not a text", where, _FIX)
    finish_reason = "length" if row.get("finish_reason") in _CUT else "stop"
    result = answer.read(completion or "", asked, finish_reason)
    verdict = answer.grade(result, asked)
    f1, against = _overlap(result.value, asked, verdict.outcome)
    return {
        **row,
        "kind": asked.kind,
        "outcome": verdict.outcome,
        "strict_outcome": verdict.strict_outcome,
        "parsed": result.value,
        "parse_source": result.source,
        "flags": list(result.flags),
        "f1": f1,
        "contradiction": list(against),
    }


def _overlap(value: str | None, asked: Question, outcome: str) -> tuple[float | None, tuple[str, ...]]:
    if asked.kind in ("choice", "json") or (asked.kind == "closed" and any(map(answer.is_yes_no, asked.golds))):
        return None, ()
    graded = asked.kind in ("open", "text")
    if outcome == "correct":
        return (1.0 if graded else None), ()
    if value is None:
        return (0.0 if graded else None), ()
    f1, nearest = max((answer.token_f1(value, gold), gold) for gold in asked.golds)
    return (f1 if graded else None), answer.contradictions(value, nearest)


def question_of_row(row: Row, where: str) -> Question:
    """What a row asks: its kind, guessed where it says none, and its gold answers as texts, never letters.

    Raises:
        DataError: as `score_rows`.
    """
    missing = [field for field in _REQUIRED if field not in row]
    if missing:
        raise DataError(f"no {' and no '.join(missing)}", where, _FIX)
    options = row.get("options") or ()
    if not isinstance(options, list | tuple) or not set(map(type, options)) <= {str}:
        raise DataError("options is not a list of texts", where, "list them in the order in which they were shown")
    golds = _golds(row["answer"], where)
    kind = row.get("kind") or _guess(row["answer"], golds, bool(options))
    if kind not in KINDS:
        raise DataError(f"kind {kind!r} is none of {', '.join(KINDS)}", where, "correct it, or leave it out")
    if kind == "choice":
        shown = tuple(options) or tuple(LETTERS)
        golds = tuple(_option(gold, shown, letters=not isinstance(row["answer"], list), where=where) for gold in golds)
        return Question(kind, golds, shown, str(row["question"]))
    return Question(kind, golds, (), str(row["question"]))


def _golds(gold: Any, where: str) -> tuple[str, ...]:
    if isinstance(gold, list) and all(isinstance(each, str) for each in gold):
        golds = tuple(gold)
    elif isinstance(gold, bool):
        golds = ("yes" if gold else "no",)
    elif isinstance(gold, str | int | float):
        golds = (str(gold),)
    elif isinstance(gold, dict | list):
        golds = (json.dumps(gold, ensure_ascii=False),)
    else:
        golds = ()
    if not golds or not all(each.strip() for each in golds):
        raise DataError("the gold answer is empty", where, "give the answer, or leave the row out")
    return golds


def _guess(gold: Any, golds: tuple[str, ...], has_options: bool) -> Kind:
    if has_options:
        return "choice"
    if all(map(answer.is_yes_no, golds)):
        return "closed"
    if isinstance(gold, str) and len(gold) == 1 and gold in LETTERS:
        return "choice"
    return "json" if isinstance(gold, dict) or golds[0].lstrip()[:1] in ("{", "[") else "open"


def _option(gold: str, options: tuple[str, ...], letters: bool, where: str) -> str:
    """The option that a gold answer means: by its text, or by its letter."""
    offered = prepared(options)
    by_text = gold if gold in options else offered.by_normal.get(answer.normalize(gold))
    letter = gold.strip()
    by_letter = offered.lettered(letter) if len(letter) == 1 and letter.isupper() else None
    if letters and by_text and by_letter and by_text != by_letter:
        fix = f"give the option's text in a list, [{json.dumps(by_text)}] or [{json.dumps(by_letter)}]"
        raise DataError(f"the gold answer {gold!r} is a letter and also another option's text", where, fix)
    if by_text or by_letter:
        return by_text or by_letter or ""
    raise DataError(f"the gold answer {gold!r} is none of the options", where, "correct the answer or the options")


def summarize(scored: Iterable[Row]) -> dict[str, Any]:
    """The figures of scored rows: accuracies, how much was unread or cut, overall, by kind and by modality."""
    rows = list(scored)
    return {
        "rules_version": answer.RULES_VERSION,
        **_figures(rows),
        "by_kind": _split(rows, lambda row: str(row["kind"])),
        "by_modality": _split(rows, lambda row: str(row.get("modality") or "")),
    }


def _split(rows: list[Row], key: Callable[[Row], str]) -> dict[str, dict[str, Any]]:
    cells: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if key(row):
            cells[key(row)].append(row)
    return {name: _figures(cells[name]) for name in sorted(cells)}


def _figures(rows: list[Row]) -> dict[str, Any]:
    lenient, strict = Counter(row["outcome"] for row in rows), Counter(row["strict_outcome"] for row in rows)
    graded = [row["f1"] for row in rows if row["f1"] is not None]
    flags = Counter(flag for row in rows for flag in row["contradiction"])

    def share(count: int) -> float | None:
        return count / len(rows) if rows else None

    return {
        "n": len(rows),
        "outcomes": {name: lenient[name] for name in ("correct", "incorrect", "unread")},
        "strict_outcomes": {name: strict[name] for name in ("correct", "incorrect", "unread")},
        "accuracy": share(lenient["correct"]),
        "strict_accuracy": share(strict["correct"]),
        "unread_rate": share(lenient["unread"]),
        "truncated_rate": share(sum(row.get("finish_reason") in _CUT for row in rows)),
        "token_f1": sum(graded) / len(graded) if graded else None,
        "laterality_error_rate": share(flags["laterality"]),
        "polarity_error_rate": share(flags["polarity"]),
    }
