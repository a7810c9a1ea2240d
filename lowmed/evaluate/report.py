"""The record of one evaluation: what was asked of whom, the figures, and the floors and controls beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowmed import __version__, prompt
from lowmed.answer import RULES_VERSION, normalize
from lowmed.data.split import DataSplit
from lowmed.errors import RunError
from lowmed.evaluate import control_effects, judge_scores, pass_at_k, results_folder
from lowmed.evaluate.controls import CONTROLS, REAL, SAMPLED
from lowmed.evaluate.metrics import mean, metrics, scored
from lowmed.recipe import ModelSpec
from lowmed.recipe.io import portable_path
from lowmed.sample import Sample

Row = Mapping[str, Any]
SEEN, UNSEEN = "seen in training", "unseen"


def eval_settings(
    model: ModelSpec,
    family: prompt.Family,
    data_split: DataSplit,
    *,
    max_new_tokens: int,
    seen: str,
    endpoint: bool = False,
) -> dict[str, Any]:
    """All that must be equal for two sets of completions to stand in one table, and what the table says of its data.

    Args:
        model: the base, or what an endpoint calls its model.
        family: how it is asked.
        split: what is asked.
        max_new_tokens: where a completion is cut.
        seen: `seen in training`, `unseen`, or "" where no training is known of.
        endpoint: whether another program serves the model; how it loads it is then not known.
    """
    return {
        "model": portable_path(model.name),
        "load_in": None if endpoint else model.load_in,
        "endpoint": endpoint,
        "max_image_tokens": model.max_image_tokens,
        "max_new_tokens": max_new_tokens,
        "prompts": family.name,
        "prompt_digest": family.digest,
        "source": data_split.source,
        "data_digest": data_split.digest,
        "seen": seen,
        "splits": {
            split: {
                "questions": len(samples),
                "images": len({image for sample in samples for image in sample.images}),
                "images_trained_on": len(data_split.images_in_train[split]),
                "stamp": data_split.stamp(split).lstrip("; "),
                "seen": _seen(data_split, samples, seen),
            }
            for split, samples in data_split.held_out.items()
        },
    }


def report(folder: Path) -> dict[str, Any]:
    """The evaluation in that folder as one JSON document, scored by today's rules: no model, images or data needed.

    Raises:
        RunError: it is no evaluation, or completions are missing.
    """
    asked = results_folder.read_settings(folder)
    rows = {
        who: {
            condition: scored(results_folder.read(results_folder.path(folder, who, condition)))
            for condition in results_folder.conditions(folder, who)
        }
        for who in results_folder.systems(folder)
    }
    expected = sum(part["questions"] for part in asked["splits"].values())
    for who, by_condition in rows.items():
        if len(by_condition[REAL]) != expected:
            raise RunError(
                f"{len(by_condition[REAL])} of {expected} questions are answered by `{who}`",
                str(folder),
                "give the same `lowmed eval` again without --rescore; it goes on where it was",
            )
    judged = judge_scores.judged(folder, {who: by_condition[REAL] for who, by_condition in rows.items()})
    return {**build(asked, rows), "judged": judged}


def build(asked: Mapping[str, Any], rows: Mapping[str, Mapping[str, Sequence[Row]]]) -> dict[str, Any]:
    """The same without a judge's verdicts, from what `settings` gave and the scored rows: who -> condition -> rows."""
    splits = {}
    for split, known in asked["splits"].items():
        real = {who: _of(split, by_condition[REAL]) for who, by_condition in rows.items()}
        anybody = next(iter(real.values()))
        splits[split] = {
            **known,
            "no_image_floor": floor(anybody),
            "results": {who: metrics(result) for who, result in real.items()},
        }
    return {
        "lowmed": __version__,
        "rules": RULES_VERSION,
        **asked,
        "splits": splits,
        "controls": {who: _controls(by_condition) for who, by_condition in rows.items()},
        "sampled": {
            who: pass_at_k.sampling_metrics(by_condition[SAMPLED])
            for who, by_condition in rows.items()
            if by_condition.get(SAMPLED)
        },
    }


def floor(rows: Sequence[Row]) -> float | None:
    """How many questions the training answers get right without image or model; None where no training is known."""
    if any(row.get("prior") is None for row in rows):
        return None
    return mean([float(row["prior"] == normalize(str(row["answer"]))) for row in rows])


def _seen(data_split: DataSplit, samples: Sequence[Sample], seen: str) -> str:
    """How a split stands to training; one of modalities that training did not have is named, whatever its source."""
    trained, asked = ({sample.modality for sample in some if sample.modality} for some in (data_split.train, samples))
    new = asked - trained
    if seen == SEEN and trained and asked and new == asked:
        return f"unseen modality ({', '.join(sorted(new))})"
    return seen


def _controls(by_condition: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    result = {
        name: control_effects.effect(by_condition[REAL], by_condition[name])
        for name in CONTROLS
        if name in by_condition
    }
    return {**result, "verdict": control_effects.verdict(result)} if result else {}


def _of(split: str, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["split"] == split]
