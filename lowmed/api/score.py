"""Grade stored completions from any source, as `lowmed score` does."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowmed.evaluation.records import ScoreSummary


def score(
    path: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    fields: Mapping[str, str] | None = None,
) -> "ScoreSummary":
    """Grade the completions in a file: no model, no images, no GPU.

    Args:
        path: a JSON-lines file or a table; each row holds at least question, answer and completion.
        out: new directory for scored.jsonl and summary.json.
        fields: lowmed's field -> the file's field; default: recognized by common names.

    Raises:
        DataError: the file is missing or empty, a row is invalid, or an id repeats.
        RecipeError: `fields` names an unknown field.
        RunError: `out` exists.
        SetupError: the disk is full or not writable; no folder is left then.
    """
    from lowmed.evaluation.compare_inputs import SCORED, SUMMARY
    from lowmed.evaluation.prediction_file import read_predictions
    from lowmed.evaluation.score import score_rows
    from lowmed.evaluation.score_summary import summarize
    from lowmed.files import new_folder, require_absent, to_jsonl, write_text

    folder = Path(out) if out else None
    if folder:
        require_absent(folder, "the directory", "choose another --out, or remove it to score again")
    predictions = read_predictions(Path(path), fields)
    rows = list(score_rows(predictions.rows, str(path)))
    summary = summarize(rows).model_copy(update={"field_names": dict(predictions.fields)})
    if folder:
        with new_folder(folder) as aside:
            write_text(aside / SCORED, to_jsonl(rows, ascii_only=True))
            summary.write(aside / SUMMARY)
    return summary
