"""Calibrate a judge against human labels, as `lowmed judge calibrate` does."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lowmed.progress import Progress, silent

if TYPE_CHECKING:
    from lowmed.judge.records import RubricCalibration


def calibrate(
    labeled: str | PathLike[str],
    judge_url: str,
    judge_model: str,
    *,
    rubric: Literal["answer", "clinical"] = "answer",
    judge_prices: tuple[float, float] | None = None,
    out: str | PathLike[str] | None = None,
    progress: Progress = silent,
) -> "RubricCalibration":
    """Measure a judge's agreement with human labels, and its resistance to attacks.

    Args:
        labeled: JSON-lines file with question, answer, completion or prediction, and correct.
        judge_url: OpenAI-compatible URL, .../v1
        judge_model: the server's name for the model.
        rubric: what is judged.
        judge_prices: per million prompt and completion tokens.
        out: file for the result, for `judge.calibration` of a recipe.
        progress: opens a progress bar.

    Raises:
        DataError: the file is missing, or a row is invalid.
        SetupError, RunError: the server is unusable, or the judge fails too often.
    """
    from lowmed.evaluation import judge_calibration
    from lowmed.files import require_own
    from lowmed.judge import RUBRICS, Judge, calibration

    if out:
        require_own(Path(out), '"rubrics"')
    chosen = RUBRICS[rubric]
    rows, skipped = judge_calibration.read(Path(labeled), chosen)
    judge = Judge(judge_url, judge_model, prices=judge_prices)
    result = judge_calibration.calibrate(judge, chosen, rows, skipped_rows=skipped, progress=progress)
    if out:
        calibration.write(Path(out), judge, chosen, result)
    return result
