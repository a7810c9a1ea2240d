"""The stored completions of a study's runs, graded again; nothing on the disk is changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowmed.answer import RULES_VERSION
from lowmed.errors import RunError
from lowmed.evaluation import results_folder
from lowmed.evaluation.compare import question_key
from lowmed.evaluation.compare_inputs import ComparedRun
from lowmed.evaluation.controls import REAL
from lowmed.evaluation.metrics import right_or_wrong, scored
from lowmed.evaluation.records import EvalSettings
from lowmed.evaluation.seed_means import Scores
from lowmed.records import read_record
from lowmed.study.spec import OWN

_FIX = "repeat `lowmed study STUDY --out FOLDER`, which generates missing completions; or restore the file"


@dataclass(frozen=True)
class Completions:
    """The graded completions of one system of one run under one prompt family."""

    label: str
    seed: int
    source: str
    prompts: str
    settings: EvalSettings
    rows: tuple[dict[str, Any], ...]
    file: Path

    def as_compared(self) -> ComparedRun:
        """The same as a side of `lowmed compare`."""
        return ComparedRun(str(self.file), self.settings, RULES_VERSION, self.rows)

    def of_split(self, split: str) -> list[dict[str, Any]]:
        """The rows of a split that are right or wrong, i.e. without reports."""
        return [dict(row) for row in right_or_wrong(self.rows) if row["split"] == split]


def read_completions(folder: Path, label: str, seed: int, source: str, prompts: str, system: str) -> Completions:
    """Read and grade the completions of one system.

    Args:
        folder: results directory of the evaluation.
        label: the arm, or `base:ARM`.
        seed: seed of the run.
        source: the source as the study names it.
        prompts: the prompt family as the study names it.
        system: tuned or base.

    Raises:
        RunError: there is no evaluation; or it lacks a completion, has two of a question, or has one of other prompts.
    """
    file = results_folder.completions_file(folder, system, REAL)
    if not file.is_file() or not (folder / results_folder.SETTINGS).is_file():
        raise RunError(f"there are no completions of `{system}`", str(file), _FIX)
    settings = read_record(folder / results_folder.SETTINGS, EvalSettings)
    rows = tuple(scored(results_folder.read_rows(file, repair=False)))
    keys = {question_key(row) for row in rows}
    foreign = any(row.get("prompt_digest") != settings.prompt_digest for row in rows)
    expected = sum(part.questions for part in settings.splits.values())
    if len(rows) != expected or len(keys) != expected:
        raise RunError(f"the file has {len(keys)} questions in {len(rows)} lines, not {expected}", str(file), _FIX)
    if foreign or (prompts != OWN and settings.prompts != prompts):
        raise RunError("the completions were generated with other prompts", str(file), _FIX)
    return Completions(label, seed, source, prompts, settings, rows, file)


def scores(rows: list[dict[str, Any]], grade: str) -> Scores:
    """Question and image -> 1.0 if its answer is right, else 0.0.

    Args:
        rows: graded completions of one split.
        grade: lenient or strict.
    """
    field = "strict_outcome" if grade == "strict" else "outcome"
    return {(str(row["id"]), str(row["group"])): float(row[field] == "correct") for row in rows}
