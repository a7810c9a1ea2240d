"""Stored completions that are parsed and graded in a second on one core.

    python benchmarks/reader.py PREDICTIONS.jsonl ...

Each file is read in a separate process, so that nothing is cached. `answers` parses and grades completions of parsed
questions. `rows` also parses the row, its gold answer and its options, and builds the scored row. The fastest of
several runs counts, which other processes disturbed least. Results are printed and written to
benchmarks/results/reader.json, with the versions, the machine and the date.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from machine import store

from lowmed import answer
from lowmed.evaluation.prediction_file import load
from lowmed.evaluation.score import question_of_row, score_rows

RUNS = 7
WORK = ("answers", "rows")


def seconds(work: Iterable[object]) -> float:
    started = time.process_time()
    for _ in work:
        pass
    return time.process_time() - started


def measure_once(what: str, path: Path) -> float:
    rows = list(load(path))
    if what == "rows":
        return seconds(score_rows(rows))
    pairs = [(row["completion"], question_of_row(row, str(path))) for row in rows]
    return seconds(answer.grade(answer.read(completion, question), question) for completion, question in pairs)


def fastest(what: str, path: Path) -> float:
    command = [sys.executable, __file__, "--once", what, str(path)]
    return min(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(RUNS))


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--once"]:
        print(measure_once(arguments[1], Path(arguments[2])))
        return
    if not arguments:
        raise SystemExit(__doc__)
    files, total, seconds_of = {}, 0, dict.fromkeys(WORK, 0.0)
    for path in map(Path, arguments):
        lengths = [len(row["completion"]) for row in load(path)]
        taken = {what: fastest(what, path) for what in WORK}
        files[path.name] = {
            "rows": len(lengths),
            "mean_completion_characters": round(sum(lengths) / len(lengths)),
            **{f"{what}_per_second": round(len(lengths) / taken[what]) for what in WORK},
        }
        total += len(lengths)
        seconds_of = {what: seconds_of[what] + taken[what] for what in WORK}
    result = {
        "rules_version": answer.RULES_VERSION,
        "time": "CPU time of one core",
        "rows": total,
        **{f"{what}_per_second": round(total / seconds_of[what]) for what in WORK},
        "files": files,
    }
    print(json.dumps(result, indent=2))
    print(store("reader", result))


if __name__ == "__main__":
    main(sys.argv[1:])
