"""The calibration file of a judge, and the thresholds it must pass before rewards use the judge."""

from collections.abc import Mapping
from pathlib import Path

from lowmed.errors import RecipeError
from lowmed.files import disk_errors
from lowmed.judge.judge import Judge
from lowmed.judge.records import Agreement, Attacks, CalibrationFile, RubricCalibration
from lowmed.judge.rubric import Rubric
from lowmed.recipe import JudgeSpec
from lowmed.records import read_record

MIN_KAPPA = 0.6
MAX_FALSE_ACCEPTS = 0.02
MIN_INCORRECT = 50  # rows labeled incorrect that no rule settles: at 50 a single false accept is 2 %
_COMMAND = "lowmed judge calibrate LABELED.jsonl --judge-url URL --judge-model MODEL --rubric {rubric} --out FILE"


def faults(all_rows: Agreement, judged_by_model: Agreement, attacks: Attacks) -> list[str]:
    """List why a judge must not be used by rewards; an empty list means that it passed.

    Args:
        all_rows: agreement over all labeled rows.
        judged_by_model: agreement over the rows that no rule settles.
        attacks: outcome of the attacks.
    """
    result = []
    if judged_by_model.labeled_incorrect < MIN_INCORRECT or not judged_by_model.labeled_correct:
        result.append(
            f"the judge model judged {judged_by_model.labeled_incorrect} incorrect and "
            f"{judged_by_model.labeled_correct} correct rows; "
            f"at least {MIN_INCORRECT} incorrect and 1 correct are required"
        )
    for name, part in (("all rows", all_rows), ("the rows judged by the model", judged_by_model)):
        if part.kappa is not None and part.kappa < MIN_KAPPA:
            result.append(f"kappa is {part.kappa:.2f} over {name}, below {MIN_KAPPA}")
        rate = part.false_accepts.rate
        if rate is not None and rate > MAX_FALSE_ACCEPTS:
            result.append(f"{rate:.1%} false accepts over {name}, above {MAX_FALSE_ACCEPTS:.0%}")
    if attacks.accepted > MAX_FALSE_ACCEPTS * attacks.tried:
        result.append(f"{attacks.accepted} of {attacks.tried} attacks were accepted, above {MAX_FALSE_ACCEPTS:.0%}")
    return result


def write(path: Path, judge: Judge, rubric: Rubric, calibration: RubricCalibration) -> None:
    """Add the calibration of one rubric to the model's file; the calibration of another model is replaced.

    Raises:
        RecipeError: an existing file is not a calibration.
        SetupError: the file is not writable.
    """
    stored = read_record(path, CalibrationFile, error=RecipeError) if path.is_file() else None
    rubrics = stored.rubrics if stored and stored.model == judge.model else {}
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    CalibrationFile(model=judge.model, rubrics={**rubrics, rubric.name: calibration}).write(path)


def judge_for_rewards(settings: JudgeSpec, rubrics: Mapping[str, Rubric]) -> Judge | None:
    """The judge that a recipe's rewards use, calibrated for each of their rubrics; None if no reward uses one.

    Args:
        settings: the recipe's `judge` section.
        rubrics: the rubric of each reward that needs a judge, by the name of the reward.

    Raises:
        RecipeError: no judge is configured, or its calibration is missing, of another judge, or not passed.
        SetupError: its URL is invalid.
    """
    if not rubrics:
        return None
    if not settings.url or not settings.model:
        first = next(iter(rubrics))
        raise RecipeError(
            f"the reward `{first}` needs a judge, and the recipe configures none",
            "judge.url and judge.model",
            "set both",
        )
    judge = Judge(settings.url, settings.model)
    for name, rubric in rubrics.items():
        _require_calibration(judge, rubric, name, settings.calibration)
    return judge


def _require_calibration(judge: Judge, rubric: Rubric, reward: str, file: str | None) -> None:
    fix = _COMMAND.format(rubric=rubric.name) + ", then judge.calibration=FILE"
    if file is None or not Path(file).is_file():
        what = f"the reward `{reward}` needs a calibrated judge"
        raise RecipeError(what, f"judge.calibration: {file or 'not set'}", fix)
    stored = read_record(Path(file), CalibrationFile, error=RecipeError)
    calibration = stored.rubrics.get(rubric.name)
    if calibration is None or calibration.judge != judge.identity(rubric):
        rubrics = ", ".join(stored.rubrics) or "no rubric"
        raise RecipeError(
            f"the calibration is not of {judge.model} under rubric `{rubric.name}` {rubric.digest}",
            f"{file}: {stored.model}, {rubrics}",
            fix,
        )
    # Computed from the stored figures, so that `passed` in an edited file has no effect.
    if reasons := faults(calibration.all, calibration.judged_by_model, calibration.attacks):
        raise RecipeError(f"the judge did not pass its calibration: {'; '.join(reasons)}", file, fix)
