"""The file that says how far a judge agrees with people, and what must stand in it before rewards may ask it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowmed.errors import RecipeError
from lowmed.files import disk_errors, read_json, write_json
from lowmed.judge.judge import Judge
from lowmed.judge.rubric import Rubric
from lowmed.recipe import JudgeSpec

LEAST_KAPPA = 0.6
MOST_FALSE_ACCEPTS = 0.02
LEAST_WRONG = 50  # rows labelled wrong that the model itself judges: at 50 a single false accept is 2 %
_COMMAND = "lowmed judge calibrate LABELLED.jsonl --judge-url URL --judge-model MODEL --rubric {rubric} --out FILE"


def faults(result: dict[str, Any]) -> list[str]:
    """Why a judge with these figures is not to be trusted with rewards; nothing where it is."""
    told = []
    if result["asked"]["labelled_wrong"] < LEAST_WRONG or not result["asked"]["labelled_right"]:
        told.append(
            f"the judge itself was asked about {result['asked']['labelled_wrong']} wrong and "
            f"{result['asked']['labelled_right']} right rows; {LEAST_WRONG} wrong ones, and right ones, are needed"
        )
    for name, part in (("all rows", result["all"]), ("the rows that the judge itself was asked", result["asked"])):
        if part["kappa"] is not None and part["kappa"] < LEAST_KAPPA:
            told.append(f"kappa is {part['kappa']:.2f} over {name}, below {LEAST_KAPPA}")
        rate = part["false_accepts"]["rate"]
        if rate is not None and rate > MOST_FALSE_ACCEPTS:
            told.append(f"{rate:.1%} false accepts over {name}, above {MOST_FALSE_ACCEPTS:.0%}")
    accepted, asked = (result["attacks"][key] for key in ("accepted", "asked"))
    if accepted > MOST_FALSE_ACCEPTS * asked:
        told.append(f"{accepted} of {asked} attacks were accepted, above {MOST_FALSE_ACCEPTS:.0%}")
    return told


def write(path: Path, judge: Judge, rubric: Rubric, result: dict[str, Any]) -> None:
    """Add the figures of one rubric to the file of that model; those of another model are replaced.

    Raises:
        SetupError: it cannot be written.
    """
    before = _read(path) if path.is_file() else {}
    kept = before["rubrics"] if before.get("model") == judge.model else {}
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"model": judge.model, "rubrics": {**kept, rubric.name: result}})


def judge_for_rewards(settings: JudgeSpec, rubrics: Mapping[str, Rubric]) -> Judge | None:
    """The judge that a recipe's rewards ask, calibrated for what each of them asks; None where none of them does.

    Args:
        settings: the recipe's `judge`.
        rubrics: the rubric of each reward that needs a judge, by the name of the reward.

    Raises:
        RecipeError: no judge is given, or its calibration is missing, of another judge, or not passed.
        SetupError: its address is none.
    """
    if not rubrics:
        return None
    if not settings.url or not settings.model:
        first = next(iter(rubrics))
        raise RecipeError(
            f"the reward `{first}` asks a judge, and none is given", "judge.url and judge.model", "set both"
        )
    judge = Judge(settings.url, settings.model)
    for name, rubric in rubrics.items():
        _require(judge, rubric, name, settings.calibration)
    return judge


def _require(judge: Judge, rubric: Rubric, reward: str, file: str | None) -> None:
    fix = _COMMAND.format(rubric=rubric.name) + ", then judge.calibration=FILE"
    if file is None or not Path(file).is_file():
        what = f"the reward `{reward}` needs a judge whose agreement with people was measured"
        raise RecipeError(what, f"judge.calibration: {file or 'open'}", fix)
    document = _read(Path(file))
    result = document["rubrics"].get(rubric.name)
    expected = judge.identity(rubric)
    if not isinstance(result, dict) or result.get("judge") != expected:
        has = ", ".join(document["rubrics"]) or "nothing"
        raise RecipeError(
            f"the calibration is not of {judge.model} by rubric `{rubric.name}` {rubric.digest}",
            f"{file}: {document['model']}, {has}",
            fix,
        )
    try:
        told = faults(result)
    except (KeyError, TypeError):
        raise RecipeError("this is no calibration of a judge", file, fix) from None
    if told:
        raise RecipeError(f"the judge is not to be trusted as a reward: {'; '.join(told)}", file, fix)


def _read(path: Path) -> dict[str, Any]:
    try:
        document: Any = read_json(path)
        whole = isinstance(document["model"], str) and isinstance(document["rubrics"], dict)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise RecipeError("this is no calibration of a judge", str(path), "name a file of `lowmed judge calibrate`")
    result: dict[str, Any] = document
    return result
