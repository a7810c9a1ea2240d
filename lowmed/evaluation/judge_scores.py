"""A judge's verdicts on the open answers of an evaluation, stored and reported apart from strict and lenient grades."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowmed import answer
from lowmed.evaluation import results_folder
from lowmed.evaluation.controls import REAL
from lowmed.evaluation.intervals import mean_interval, wilson
from lowmed.evaluation.metrics import correct_flags, mean, scored
from lowmed.evaluation.records import JudgeCost, JudgedAccuracy, JudgeScores, StoredVerdict
from lowmed.files import utc_now
from lowmed.judge import ANSWER, Judge, Query
from lowmed.judge.records import JudgeIdentity

VERDICTS, USAGE = "verdicts.jsonl", "judge_usage.jsonl"
OPEN = ("open", "text")  # kinds graded by exact match, where a judge can recognize a paraphrase
QUERIES_PER_WRITE = 64
Row = Mapping[str, Any]
_COUNTS = ("requests", "malformed", "prompt_tokens", "completion_tokens", "cost")


def collect_verdicts(folder: Path, judge: Judge, advance: Callable[[int, str], None]) -> None:
    """Judge the open completions that have no verdict yet and store each verdict; failures are retried next time.

    Args:
        folder: folder of the evaluation.
        judge: the judge.
        advance: called with the number of open completions done and the system's name.

    Raises:
        RunError: no completions, or the judge fails too often or is too slow.
        SetupError: the server rejects the request.
    """
    done = 0
    identity = _identity_key(judge.identity(ANSWER).model_dump())
    job = judge.job(sum(len(open_rows(folder, system)) for system in judged_systems(folder)))
    try:
        for system in judged_systems(folder):
            stored = {
                _row_key(row, row["system"]): row
                for row in results_folder.read_verdicts(folder / VERDICTS)
                if _identity_key(row["judge"]) == identity
            }
            rows = [(row, _query(row)) for row in open_rows(folder, system)]
            new = [(row, query) for row, query in rows if not _is_current(stored.get(_row_key(row, system)), query)]
            done += len(rows) - len(new)
            for start in range(0, len(new), QUERIES_PER_WRITE):
                part = new[start : start + QUERIES_PER_WRITE]
                last = start + QUERIES_PER_WRITE >= len(new)
                before = done

                def note(number: int, counts: str, before: int = before, system: str = system) -> None:
                    advance(before + number, f"{system}: {counts}")

                verdicts = judge.ask_all([query for _, query in part], strict=last, job=job, advance=note)
                lines: list[StoredVerdict] = [
                    {
                        "system": system,
                        "split": row["split"],
                        "id": row["id"],
                        "judge": judge.identity(ANSWER).model_dump(),
                        "query": query.code(),
                        "text": query.text,
                        "value": verdict.value,
                        "why": verdict.why,
                        "by": "judge" if verdict.by == "cache" else verdict.by,
                    }
                    for (row, query), verdict in zip(part, verdicts, strict=True)
                    if verdict.value is not None
                ]
                results_folder.append_rows(folder / VERDICTS, lines)
                done += len(part)
                advance(done, system)
    finally:
        usage = judge.usage()
        if usage.requests:
            line = {"time": utc_now(), **usage.model_dump(mode="json")}
            results_folder.append_rows(folder / USAGE, [line])


def judged_systems(folder: Path) -> list[str]:
    """The systems whose completions can be judged.

    Raises:
        RunError: the directory is not an evaluation.
    """
    results_folder.read_settings(folder)
    return results_folder.systems(folder)


def open_rows(folder: Path, system: str) -> list[dict[str, Any]]:
    """A system's scored completions of open questions."""
    file = results_folder.completions_file(folder, system, REAL)
    return [row for row in scored(results_folder.read_rows(file)) if row["kind"] in OPEN]


def judge_scores(folder: Path, rows: Mapping[str, Sequence[Row]]) -> list[JudgeScores]:
    """Accuracy by each judge with stored verdicts, over the open completions that it judged.

    Args:
        folder: folder of the evaluation.
        rows: scored completions by system.
    """
    stored = results_folder.read_verdicts(folder / VERDICTS)
    usage = results_folder.read_usage(folder / USAGE)
    result = []
    for key in dict.fromkeys(_identity_key(row["judge"]) for row in stored):
        verdicts = {_row_key(row, row["system"]): row for row in stored if _identity_key(row["judge"]) == key}
        splits: dict[str, dict[str, JudgedAccuracy]] = {}
        for system, completions in rows.items():
            for split in dict.fromkeys(row["split"] for row in completions):
                part = [row for row in completions if row["split"] == split and row["kind"] in OPEN]
                accuracy = _judged_accuracy(part, [verdicts.get(_row_key(row, system)) for row in part])
                if accuracy:
                    splits.setdefault(split, {})[system] = accuracy
        if splits:
            identity = JudgeIdentity.model_validate_json(key)
            result.append(JudgeScores(judge=identity, usage=_total_usage(usage, identity.model), splits=splits))
    return result


def verdicts_by_judge(folder: Path, system: str, rows: Sequence[Row]) -> dict[str, dict[tuple[str, str], bool]]:
    """Current verdicts on a system's open completions: judge identity as JSON -> (split, id) -> accepted."""
    queries = {(row["split"], row["id"]): _query(row) for row in rows if row["kind"] in OPEN}
    result: dict[str, dict[tuple[str, str], bool]] = {}
    for row in results_folder.read_verdicts(folder / VERDICTS):
        query = queries.get((row["split"], row["id"]))
        if row["system"] == system and query and _is_current(row, query):
            result.setdefault(_identity_key(row["judge"]), {})[row["split"], row["id"]] = bool(row["value"])
    return result


def _judged_accuracy(rows: Sequence[Row], verdicts: Sequence[Row | None]) -> JudgedAccuracy | None:
    pairs = [
        (row, verdict)
        for row, verdict in zip(rows, verdicts, strict=True)
        if verdict is not None and _is_current(verdict, _query(row))
    ]
    if not pairs:
        return None
    accepted = [float(verdict["value"]) for _, verdict in pairs]
    return JudgedAccuracy(
        questions=len(rows),
        no_verdict=len(rows) - len(pairs),
        by_rule=sum(verdict["by"] == "rule" for _, verdict in pairs),
        accuracy=mean(accepted),
        wilson=wilson(round(sum(accepted)), len(accepted)),
        by_image=mean_interval(accepted, [row["group"] for row, _ in pairs]),
        exact_match=mean(correct_flags([row for row, _ in pairs])),
        accepted_contradictions=sum(verdict["value"] and bool(row["contradiction"]) for row, verdict in pairs),
    )


def _query(row: Row) -> Query:
    """The query for one completion: its extracted answer, or an empty text."""
    text = answer.extract(row["completion"], row["finish_reason"]).text
    return Query(ANSWER, row["question"], (str(row["answer"]),), text or "")


def _total_usage(usage: Sequence[Row], model: str) -> JudgeCost:
    rows = [row for row in usage if row["model"] == model]
    totals: Counter[str] = Counter()
    for row in rows:
        totals.update({name: row[name] for name in _COUNTS if row[name] is not None})
    return JudgeCost(hosts=tuple(sorted({row["host"] for row in rows})), **{name: totals[name] for name in _COUNTS})


def _is_current(stored: Row | None, query: Query) -> bool:
    """Whether a stored verdict is on exactly this text."""
    return stored is not None and stored["query"] == query.code()


def _row_key(row: Row, system: str) -> tuple[str, str, str]:
    return system, row["split"], row["id"]


def _identity_key(judge: Mapping[str, str]) -> str:
    return json.dumps(judge, sort_keys=True)
