"""One side of a comparison: stored completions with all that must be equal on the other side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowmed.answer import RULES_VERSION
from lowmed.errors import RunError
from lowmed.evaluate import judge_scores, results_folder
from lowmed.evaluate.controls import REAL
from lowmed.evaluate.metrics import scored
from lowmed.files import read_json

SAME = ("source", "data_digest", "prompt_digest", "max_image_tokens", "max_new_tokens", "rules")
SCORED = "scored.jsonl"
_FIX = (
    "give an evaluation's folder or one of its .jsonl files, a run with evaluations, or what `lowmed score --out` wrote"
)


@dataclass(frozen=True)
class ComparedRun:
    """Scored completions, the settings under which they were made as far as they are known, and verdicts by judge."""

    where: str
    settings: Mapping[str, Any]
    rows: tuple[dict[str, Any], ...]
    verdicts: Mapping[str, Mapping[tuple[str, str], bool]] = field(default_factory=dict)


def load_systems(path: Path) -> dict[str, ComparedRun]:
    """What is stored there, by data source: one evaluation, or all of a run.

    Of an evaluation with several the tuned model's completions are taken; name `base.jsonl` in it for the others.

    Raises:
        RunError: nothing that can be compared.
    """
    if path.is_dir() and (path / "run.json").is_file():
        folders = sorted(file.parent for file in (path / "evals").glob(f"*/{results_folder.SETTINGS}"))
        result = {folder.name: _evaluation(folder, None) for folder in folders}
        if not result:
            raise RunError("the run was not evaluated", str(path), f"lowmed eval {path}")
        return result
    if path.is_file() and (path.parent / results_folder.SETTINGS).is_file() and path.suffix == ".jsonl":
        side = _evaluation(path.parent, path.name.removesuffix(".jsonl"))
    elif (path / results_folder.SETTINGS).is_file():
        side = _evaluation(path, None)
    elif (path / SCORED).is_file():
        summary = path / "summary.json"
        rules = read_json(summary).get("rules_version") if summary.is_file() else None
        side = ComparedRun(str(path), {"rules": rules}, _rows(path / SCORED))
    else:
        raise RunError("there is nothing to compare", str(path), _FIX)
    return {str(side.settings.get("source", "")): side}


def _evaluation(folder: Path, who: str | None) -> ComparedRun:
    asked, there = results_folder.read_settings(folder), results_folder.systems(folder)
    if who is not None and who not in there:
        raise RunError(f"nobody called `{who}` has answered", str(folder), f"name one of {', '.join(there)}")
    chosen = who or ("tuned" if "tuned" in there else there[0])
    report = folder / "report.json"
    rules = read_json(report).get("rules") if report.is_file() else RULES_VERSION
    rows = _rows(results_folder.path(folder, chosen, REAL))
    return ComparedRun(
        f"{folder} ({chosen})", {**asked, "rules": rules}, rows, judge_scores.given(folder, chosen, rows)
    )


def _rows(file: Path) -> tuple[dict[str, Any], ...]:
    return tuple({"split": "", "group": row["id"], **row} for row in scored(results_folder.read(file)))
