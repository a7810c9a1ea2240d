"""A judge's verdicts on the open answers of an evaluation: stored beside the completions, apart from strict and lenient."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowmed import answer
from lowmed.evaluate import results_folder
from lowmed.evaluate.controls import REAL
from lowmed.evaluate.intervals import clustered, wilson
from lowmed.evaluate.metrics import correct_flags, mean, scored
from lowmed.files import utc_now
from lowmed.judge import ANSWER, Judge, Query

VERDICTS, SENT = "verdicts.jsonl", "sent.jsonl"
OPEN = ("open", "text")  # kinds that the reader grades by exact match, so that a judge can add something
AT_ONCE = 64  # verdicts between two writes
Row = Mapping[str, Any]
_COUNTS = ("requests", "malformed", "prompt_tokens", "completion_tokens", "cost")


def collect_verdicts(folder: Path, judge: Judge, advance: Callable[[int, str], None]) -> None:
    """Put to the judge what it has not judged yet, and store each verdict; one that failed is asked for next time.

    Args:
        folder: of the evaluation.
        judge: that is asked.
        advance: told how many open completions are done, and whose.

    Raises:
        RunError: nobody has answered, or the judge fails too often.
        SetupError: the judge refuses.
    """
    done = 0
    identity = json.dumps(judge.identity(ANSWER), sort_keys=True)
    try:
        for who in judged_systems(folder):
            known = {
                _place(row, row["who"]): row for row in results_folder.read(folder / VERDICTS) if _by(row) == identity
            }
            rows = [(row, _query(row)) for row in open_rows(folder, who)]
            new = [(row, query) for row, query in rows if not _holds(known.get(_place(row, who)), query)]
            done += len(rows) - len(new)
            for start in range(0, len(new), AT_ONCE):
                part = new[start : start + AT_ONCE]
                result = judge.ask_all([query for _, query in part], strict=start + AT_ONCE >= len(new))
                lines = [
                    {
                        "who": who,
                        "split": row["split"],
                        "id": row["id"],
                        "judge": judge.identity(ANSWER),
                        "asked": query.code(),
                        "judged": query.text,
                        "value": verdict.value,
                        "why": verdict.why,
                        "by": "judge" if verdict.by == "cache" else verdict.by,
                    }
                    for (row, query), verdict in zip(part, result, strict=True)
                    if verdict.value is not None
                ]
                results_folder.append(folder / VERDICTS, lines)
                done += len(part)
                advance(done, who)
    finally:
        sent = judge.record()
        if sent["requests"]:
            results_folder.append(folder / SENT, [{"when": utc_now(), **sent}])


def judged_systems(folder: Path) -> list[str]:
    """Who has replied, once the folder is an evaluation.

    Raises:
        RunError: it is none.
    """
    results_folder.read_settings(folder)
    return results_folder.systems(folder)


def open_rows(folder: Path, who: str) -> list[dict[str, Any]]:
    """The completions to open questions."""
    return [row for row in scored(results_folder.read(results_folder.path(folder, who, REAL))) if row["kind"] in OPEN]


def judged(folder: Path, rows: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """For each judge that was asked, accuracy over the open completions that it gave a verdict on.

    `exact` is the lenient accuracy of the same completions. `against_gate` counts answers that the judge accepts although
    one of both texts denies something.

    Args:
        folder: of the evaluation.
        rows: scored completions by who gave them.
    """
    stored = results_folder.read(folder / VERDICTS)
    sent = results_folder.read(folder / SENT)
    result = []
    for identity in dict.fromkeys(map(_by, stored)):
        given = {_place(row, row["who"]): row for row in stored if _by(row) == identity}
        splits: dict[str, dict[str, Any]] = {}
        for who, completions in rows.items():
            for split in dict.fromkeys(row["split"] for row in completions):
                asked = [row for row in completions if row["split"] == split and row["kind"] in OPEN]
                figures = _figures(asked, [given.get(_place(row, who)) for row in asked])
                if figures:
                    splits.setdefault(split, {})[who] = figures
        if splits:
            result.append({"judge": json.loads(identity), "sent": _spent(sent, json.loads(identity)), "splits": splits})
    return result


def given(folder: Path, who: str, rows: Sequence[Row]) -> dict[str, dict[tuple[str, str], bool]]:
    """The verdicts on somebody's open completions: judge and rubric as JSON -> (split, id) -> right or wrong."""
    queries = {(row["split"], row["id"]): _query(row) for row in rows if row["kind"] in OPEN}
    result: dict[str, dict[tuple[str, str], bool]] = {}
    for row in results_folder.read(folder / VERDICTS):
        query = queries.get((row["split"], row["id"]))
        if row["who"] == who and query and _holds(row, query):
            result.setdefault(_by(row), {})[row["split"], row["id"]] = bool(row["value"])
    return result


def _figures(rows: Sequence[Row], verdicts: Sequence[Row | None]) -> dict[str, Any] | None:
    pairs = [
        (row, one) for row, one in zip(rows, verdicts, strict=True) if one is not None and _holds(one, _query(row))
    ]
    if not pairs:
        return None
    right = [float(one["value"]) for _, one in pairs]
    against = [one["value"] and bool(row["contradiction"]) for row, one in pairs]
    return {
        "questions": len(rows),
        "no_verdict": len(rows) - len(pairs),
        "by_rule": sum(one["by"] == "rule" for _, one in pairs),
        "accuracy": mean(right),
        "wilson": wilson(round(sum(right)), len(right)),
        "by_image": clustered(right, [row["group"] for row, _ in pairs]),
        "exact": mean(correct_flags([row for row, _ in pairs])),
        "against_gate": sum(against),
    }


def _query(row: Row) -> Query:
    """What is judged: the answer as it stands in the completion, or nothing where none is found."""
    text = answer.extract(row["completion"], row["finish_reason"]).text
    return Query(ANSWER, row["question"], (str(row["answer"]),), text or "")


def _spent(sent: Sequence[Row], identity: Row) -> dict[str, Any]:
    mine = [row for row in sent if row["model"] == identity["model"]]
    totals: Counter[str] = Counter()
    for row in mine:
        totals.update({name: row[name] for name in _COUNTS if row[name] is not None})
    return {"hosts": sorted({row["host"] for row in mine}), **{name: totals[name] for name in _COUNTS}}


def _holds(stored: Row | None, query: Query) -> bool:
    """Whether a stored verdict is one on this very text."""
    return stored is not None and stored["asked"] == query.code()


def _place(row: Row, who: str) -> tuple[str, str, str]:
    return who, row["split"], row["id"]


def _by(row: Row) -> str:
    return json.dumps(row["judge"], sort_keys=True)
