"""Grade stored completions from any source, as `lowmed score` does."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowmed.evaluation.records import ScoreSummary


def score(path: str | PathLike[str], out: str | PathLike[str] | None = None) -> "ScoreSummary":
    """Grade the completions in a JSON-lines file: no model, no images, no GPU.

    Args:
        path: the file; each line holds at least id, question, answer and completion.
        out: new directory for scored.jsonl and summary.json.

    Raises:
        DataError: the file is missing, or a row is invalid.
        RunError: `out` exists.
    """
    from lowmed.errors import RunError
    from lowmed.evaluation.compare_inputs import SCORED, SUMMARY
    from lowmed.evaluation.score import load, score_rows, summarize
    from lowmed.files import disk_errors, to_jsonl, write_text

    folder = Path(out) if out else None
    if folder and folder.exists():
        raise RunError("the directory exists", str(folder), "choose another --out, or remove it to score again")
    rows = list(score_rows(load(Path(path)), str(path)))
    summary = summarize(rows)
    if folder:
        with disk_errors(folder):
            folder.mkdir(parents=True)
        write_text(folder / SCORED, to_jsonl(rows, ascii_only=True))
        summary.write(folder / SUMMARY)
    return summary
