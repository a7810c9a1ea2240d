"""The report of one evaluation: settings, metrics, answer-prior baseline and controls."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowmed import __version__, prompt
from lowmed.answer import RULES_VERSION, normalize
from lowmed.data.split import DEV, DataSplit
from lowmed.errors import RunError
from lowmed.evaluation import control_effects, grades, judge_scores, pass_at_k, results_folder
from lowmed.evaluation.classification_difference import classification_difference
from lowmed.evaluation.controls import CONTRASTIVE, CONTROLS, REAL, SAMPLED
from lowmed.evaluation.metrics import correct_flags, groups_of, metrics, right_or_wrong, scored
from lowmed.evaluation.paired_tests import paired_difference
from lowmed.evaluation.probabilities import Stored, auroc_difference, by_question, split_probabilities
from lowmed.evaluation.records import (
    ControlReport,
    EvalReport,
    EvalSettings,
    JudgeScores,
    PairedDifference,
    SplitReport,
    SplitSettings,
)
from lowmed.evaluation.report_difference import report_difference
from lowmed.evaluation.score import score_row
from lowmed.recipe import ModelSpec
from lowmed.recipe.io import portable_path
from lowmed.sample import Sample

Row = Mapping[str, Any]
RowsByCondition = Mapping[str, Sequence[Row]]
SEEN, UNSEEN = "seen in training", "unseen"


def eval_settings(
    model: ModelSpec,
    family: prompt.Family,
    data_split: DataSplit,
    *,
    max_new_tokens: int,
    seen: str,
    endpoint: bool = False,
    temperature: float | None = None,
) -> EvalSettings:
    """The settings that must be equal for two sets of completions to be comparable.

    Args:
        model: the base model, or the endpoint's name for its model.
        family: the prompts.
        data_split: the questions.
        max_new_tokens: completion limit.
        seen: `seen in training`, `unseen`, or "" without a run.
        endpoint: another program serves the model, so its weight precision is unknown.
        temperature: sampling temperature of a probe; None for an evaluation.
    """
    return EvalSettings(
        model=portable_path(model.name),
        load_in=None if endpoint else model.load_in,
        endpoint=endpoint,
        max_image_tokens=model.max_image_tokens,
        max_new_tokens=max_new_tokens,
        prompts=family.name,
        prompt_digest=family.digest,
        source=data_split.source,
        data_digest=data_split.digest,
        seen=seen,
        splits={
            split: SplitSettings(
                questions=len(samples),
                images=len({image for sample in samples for image in sample.images}),
                images_trained_on=len(data_split.images_in_train[split]),
                stamp=data_split.stamp(split).lstrip("; "),
                seen=_seen(data_split, samples, seen),
            )
            for split, samples in data_split.held_out.items()
        },
        **({} if temperature is None else {"temperature": temperature}),
    )


def report(folder: Path) -> EvalReport:
    """Score the stored completions of an evaluation by the current rules: no model, images or data needed.

    Raises:
        RunError: the directory is not an evaluation, or completions are missing.
    """
    return _report(folder, _scored_rows(folder))


def write_report(folder: Path) -> EvalReport:
    """Write report.json of an evaluation, and the grades of its questions; the report has what changed since then.

    Raises:
        RunError: as `report`.
    """
    rows = _scored_rows(folder)
    real = {system: by_condition[REAL] for system, by_condition in rows.items()}
    result = _report(folder, rows).model_copy(update={"changes": grades.changed_grades(folder, real)})
    result.write(folder / results_folder.REPORT)
    grades.write_grades(folder, real)
    return result


def _scored_rows(folder: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    settings = results_folder.read_settings(folder)
    rows = {
        system: {
            condition: scored(results_folder.read_rows(results_folder.completions_file(folder, system, condition)))
            for condition in results_folder.conditions(folder, system)
            if condition != DEV
        }
        for system in results_folder.systems(folder)
    }
    expected = sum(part.questions for part in settings.splits.values())
    for system, by_condition in rows.items():
        if len(by_condition[REAL]) != expected:
            raise RunError(
                f"`{system}` has completions for {len(by_condition[REAL])} of {expected} questions",
                str(folder),
                "repeat the same `lowmed eval` without --rescore; it generates the missing completions",
            )
        known = {(row["split"], row["id"]) for row in by_condition[REAL]}
        for condition, controls in by_condition.items():
            if other := next((row for row in controls if (row["split"], row["id"]) not in known), None):
                raise RunError(
                    f"`{condition}` has a completion for a question that the evaluation does not have: {other['id']}",
                    str(results_folder.completions_file(folder, system, condition)),
                    "delete the line, or restore the file",
                )
    return rows


def _report(folder: Path, rows: Mapping[str, RowsByCondition]) -> EvalReport:
    settings = results_folder.read_settings(folder)
    judged = judge_scores.judge_scores(folder, {system: by_condition[REAL] for system, by_condition in rows.items()})
    stored = {system: by_question(results_folder.read_probabilities(folder, system)) for system in rows}
    dev = {
        system: scored(results_folder.read_rows(results_folder.completions_file(folder, system, DEV)))
        for system in rows
    }
    return build(settings, rows, judged, stored, dev).model_copy(update={"folder": folder})


def build(
    settings: EvalSettings,
    rows: Mapping[str, RowsByCondition],
    judged: Sequence[JudgeScores] = (),
    stored: Mapping[str, Stored] | None = None,
    dev: Mapping[str, Sequence[Row]] | None = None,
) -> EvalReport:
    """Build a report.

    Args:
        settings: the settings of the evaluation.
        rows: system -> condition -> scored rows.
        judged: scores of judges.
        stored: system -> stored probabilities.
        dev: system -> scored rows of dev questions, for a threshold.
    """
    splits = {}
    for split, known in settings.splits.items():
        real = {system: _of_split(split, by_condition[REAL]) for system, by_condition in rows.items()}
        splits[split] = SplitReport(
            **dict(known),
            no_image_floor=no_image_floor(next(iter(real.values()))),
            results={system: metrics(split_rows) for system, split_rows in real.items()},
            **_change(real),
            **_probabilities(real, stored or {}, dev or {}),
        )
    shared = {name: value for name, value in settings if name in settings.model_fields_set and name != "splits"}
    return EvalReport(
        **shared,
        lowmed=__version__,
        rules=RULES_VERSION,
        splits=splits,
        controls={system: _controls(by_condition) for system, by_condition in rows.items()},
        sampled={
            system: pass_at_k.sampling_metrics(sampled)
            for system, by_condition in rows.items()
            if (sampled := right_or_wrong(by_condition.get(SAMPLED, ())))
        },
        judged=tuple(judged),
    )


def _change(rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Tuned minus base of one split, on the questions that both answered; empty without both systems."""
    if not {"base", "tuned"} <= rows.keys():
        return {}
    tuned = {row["id"]: row for row in rows["tuned"]}
    shared = [row for row in rows["base"] if row["id"] in tuned]
    after = [tuned[row["id"]] for row in shared]
    changes = {
        "accuracy_change": _accuracy_change(shared, after),
        "report_change": report_difference(shared, after),
        "classification": classification_difference(shared, after),
    }
    return {name: change for name, change in changes.items() if change}


def _accuracy_change(before: Sequence[Row], after: Sequence[Row]) -> PairedDifference | None:
    answered = right_or_wrong(before)
    if not answered:
        return None
    return paired_difference(correct_flags(answered), correct_flags(right_or_wrong(after)), groups_of(answered))


def _probabilities(
    rows: Mapping[str, Sequence[Row]], stored: Mapping[str, Stored], dev: Mapping[str, Sequence[Row]]
) -> dict[str, Any]:
    """The metrics of the stored probabilities of one split; empty without any."""
    by_system = {
        system: split_probabilities(rows[system], stored[system], dev.get(system, ()))
        for system in rows
        if system in stored
    }
    result: dict[str, Any] = {}
    if shown := {system: one for system, one in by_system.items() if one.yes_no or one.choice}:
        result["probabilities"] = shown
    if {"base", "tuned"} <= shown.keys():
        base, tuned = ((rows[system], stored[system]) for system in ("base", "tuned"))
        if difference := auroc_difference(base, tuned):
            result["auroc"] = difference
    return result


def no_image_floor(rows: Sequence[Row]) -> float | None:
    """Accuracy of the answer-prior baseline, which uses neither image nor model; None without training answers.

    Reports do not count; None if there is nothing else. For boxes it is the better of the mean training box and none.
    """
    answered = right_or_wrong(rows)
    if not answered or any(row.get("prior") is None for row in answered):
        return None
    about_boxes = [row for row in answered if row["kind"] == "boxes"]
    right = sum(row["prior"] == normalize(str(row["answer"])) for row in answered if row["kind"] != "boxes")
    without = sum(not row["boxes"]["gold"] for row in about_boxes)
    return float(right + max(without, sum(map(_mean_box_is_right, about_boxes)))) / len(answered)


def _mean_box_is_right(row: Row) -> bool:
    return bool(score_row({**row, "completion": f"<answer>{row['prior']}</answer>"}, "prior")["outcome"] == "correct")


def _seen(data_split: DataSplit, samples: Sequence[Sample], seen: str) -> str:
    """How a split relates to training; a modality absent from the training data is named."""
    trained, evaluated = (
        {sample.modality for sample in part if sample.modality} for part in (data_split.train, samples)
    )
    new = evaluated - trained
    if seen == SEEN and trained and evaluated and new == evaluated:
        return f"unseen modality ({', '.join(sorted(new))})"
    return seen


def _controls(by_condition: RowsByCondition) -> ControlReport:
    effects = {
        name: control_effects.control_effect(by_condition[REAL], by_condition[name])
        for name in (*CONTROLS, CONTRASTIVE)
        if name in by_condition
    }
    if not effects:
        return ControlReport()
    return ControlReport(**effects, verdict=control_effects.verdict(effects.get("shuffled")))


def _of_split(split: str, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["split"] == split]
