"""One side of a comparison: stored completions with their settings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowmed.answer import RULES_VERSION
from lowmed.errors import RunError
from lowmed.evaluation import judge_scores, results_folder
from lowmed.evaluation.controls import REAL
from lowmed.evaluation.metrics import scored
from lowmed.evaluation.probabilities import Stored, by_question
from lowmed.evaluation.records import EvalReport, EvalSettings, ScoreSummary
from lowmed.records import read_record

SAME_SETTINGS = ("source", "data_digest", "prompt_digest", "max_image_tokens", "max_new_tokens")
SCORED, SUMMARY = "scored.jsonl", "summary.json"
_FIX = (
    "name a run with evaluations, an evaluation's directory, one of its .jsonl files, or a directory of "
    "`lowmed score --out`"
)


@dataclass(frozen=True)
class ComparedRun:
    """Scored completions, their settings and answer rules if known, verdicts by judge, and stored probabilities."""

    where: str
    settings: EvalSettings | None
    rules: int | None
    rows: tuple[dict[str, Any], ...]
    verdicts: Mapping[str, Mapping[tuple[str, str], bool]] = field(default_factory=dict)
    probabilities: Stored = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The data source; empty if unknown."""
        return self.settings.source if self.settings else ""

    def comparable(self) -> dict[str, str | int]:
        """The known settings that must be equal on both sides."""
        known = {name: getattr(self.settings, name) for name in SAME_SETTINGS} if self.settings else {}
        return known if self.rules is None else {**known, "rules": self.rules}


def load_systems(path: Path) -> dict[str, ComparedRun]:
    """Load stored completions by data source: one evaluation, or all evaluations of a run.

    If an evaluation has several systems, the tuned model is taken; name `base.jsonl` in it for the base model.

    Raises:
        RunError: the path does not exist, or holds nothing that can be compared.
    """
    if not path.exists():
        raise RunError("the run does not exist", str(path), _FIX)
    if path.is_dir() and (path / "run.json").is_file():
        sides = {folder.name: _evaluation(folder, None) for folder in results_folder.evaluations(path)}
        if not sides:
            raise RunError("the run has no evaluation", str(path), f"lowmed eval {path}")
        return sides
    if path.is_file() and (path.parent / results_folder.SETTINGS).is_file() and path.suffix == ".jsonl":
        side = _evaluation(path.parent, path.name.removesuffix(".jsonl"))
    elif (path / results_folder.SETTINGS).is_file():
        side = _evaluation(path, None)
    elif (path / SCORED).is_file():
        summary = path / SUMMARY
        rules = read_record(summary, ScoreSummary).rules_version if summary.is_file() else None
        side = ComparedRun(str(path), None, rules, _rows(results_folder.read_scored(path / SCORED)))
    else:
        raise RunError("no completions to compare", str(path), _FIX)
    return {side.source: side}


def _evaluation(folder: Path, system: str | None) -> ComparedRun:
    settings, stored = results_folder.read_settings(folder), results_folder.systems(folder)
    if system is not None and system not in stored:
        raise RunError(
            f"this evaluation has no completions of `{system}`", str(folder), f"name one of {', '.join(stored)}"
        )
    chosen = system or ("tuned" if "tuned" in stored else stored[0])
    report = folder / results_folder.REPORT
    rules = read_record(report, EvalReport).rules if report.is_file() else RULES_VERSION
    rows = _rows(results_folder.read_rows(results_folder.completions_file(folder, chosen, REAL)))
    verdicts = judge_scores.verdicts_by_judge(folder, chosen, rows)
    probabilities = by_question(results_folder.read_probabilities(folder, chosen))
    return ComparedRun(f"{folder} ({chosen})", settings, rules, rows, verdicts, probabilities)


def _rows(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple({"split": "", "group": row["id"], **row} for row in scored(rows))
