"""Probe what the vision tower of a model sees, as `lowmed probe --vision` does."""

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed.progress import Progress, silent

if TYPE_CHECKING:
    from lowmed.evaluation.records import VisionProbe

FILE = "vision.json"
QUESTIONS = 2000


def probe_vision(
    target: str | PathLike[str],
    *,
    on: str | None = None,
    path: str | None = None,
    questions: int = QUESTIONS,
    out: str | PathLike[str] | None = None,
    progress: Progress = silent,
) -> "VisionProbe":
    """Classify training images by the features of the frozen vision tower, for each question that recurs.

    Nothing is sampled, and the adapter of a run has no effect, because it is on the language model.

    Args:
        target: run directory, model directory, hub id or `nano`.
        on: data source; default: the run's own.
        path: local copy of the source.
        questions: number of training questions, the first ones.
        out: directory for vision.json; default: nothing is written.
        progress: shows progress.

    Raises:
        LowmedError: a problem with the run, the data or the model; or no question recurs with two answers.
    """
    from lowmed.files import disk_errors, require_own_folder

    folder = Path(out) if out else None
    if folder:  # before the data and the model are loaded
        require_own_folder(folder, FILE)
    from lowmed.engine.vision_probe import probe_vision as measured
    from lowmed.evaluation.target import open_target, split_to_probe

    opened = open_target(fspath(target))
    data_split, _ = split_to_probe(opened, on, path, questions, progress)
    report = measured(opened.model, data_split.held_out["train"], data_split.source, data_split.open_image, progress)
    if folder:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            report.write(folder / FILE)
    return report
