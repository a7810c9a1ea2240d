"""The table of a study: accuracies of its arms and paired differences, derived from stored completions only."""

from collections.abc import Iterable, Sequence
from statistics import stdev
from typing import Any

from lowmed.evaluation.compare import different_settings, question_key
from lowmed.evaluation.intervals import Interval, too_few
from lowmed.evaluation.paired_tests import holm
from lowmed.evaluation.seed_means import Scores, accuracy_over_seeds, difference_over_seeds, seed_interval
from lowmed.study.completions import Completions, scores
from lowmed.study.records import StudyAccuracy, StudyDifference
from lowmed.study.spec import BASE, ComparisonSpec, StudySpec, labelled

_QUESTION = ("question", "answer", "options")


def accuracies(spec: StudySpec, stored: Sequence[Completions]) -> tuple[StudyAccuracy, ...]:
    """The accuracy of every arm, and of base models, by source, prompts and split."""
    result = []
    for label in _labels(spec):
        for source, prompts in _places(stored):
            runs = _select(stored, label, source, prompts)
            for split in _splits(spec, runs):
                rows = {one.seed: one.of_split(split) for one in runs}
                by_seed = {seed: scores(part, spec.eval.grade) for seed, part in rows.items() if part}
                if by_seed:
                    result.append(_accuracy(label, source, prompts, split, runs[0], by_seed))
    return tuple(result)


def comparisons(spec: StudySpec, stored: Sequence[Completions]) -> tuple[StudyDifference, ...]:
    """The paired differences of every comparison; p is corrected over all of them by Holm's method."""
    result = []
    for comparison in spec.compare:
        for prompts in comparison.prompts or spec.prompts:
            for source in dict.fromkeys(one.source for one in stored):
                first = _select(stored, comparison.first, source, comparison.first_prompts or prompts)
                second = _select(stored, comparison.second, source, prompts)
                result += _differences(spec, comparison, prompts, first, second)
    corrected = holm({str(number): one.p_by_image for number, one in enumerate(result)})
    return tuple(one.model_copy(update={"p_holm": corrected[str(number)]}) for number, one in enumerate(result))


def _labels(spec: StudySpec) -> list[str]:
    return [label for name in spec.arms for label in ([f"{BASE}{name}"] if name in spec.eval.base else []) + [name]]


def _places(stored: Iterable[Completions]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((one.source, one.prompts) for one in stored))


def _select(stored: Sequence[Completions], label: str, source: str, prompts: str) -> list[Completions]:
    return [one for one in stored if (one.label, one.source, one.prompts) == (label, source, prompts)]


def _splits(spec: StudySpec, runs: Sequence[Completions]) -> list[str]:
    names = list(dict.fromkeys(split for one in runs for split in one.settings.splits))
    return [name for name in names if not spec.eval.splits or name in spec.eval.splits]


def _cell(source: str, prompts: str, split: str, run: Completions, by_seed: Sequence[Scores]) -> dict[str, Any]:
    keys = list(dict.fromkeys(key for one in by_seed for key in one))
    return {
        "source": source,
        "split": split,
        "seen": run.settings.splits[split].seen,
        "prompts": prompts,
        "questions": len(keys),
        "images": len({group for _, group in keys}),
        "seeds": len(by_seed),
        "same_questions": all(one.keys() == by_seed[0].keys() for one in by_seed),
        "few": too_few([group for _, group in keys]),
    }


def _accuracy(
    label: str, source: str, prompts: str, split: str, run: Completions, by_seed: dict[int, Scores]
) -> StudyAccuracy:
    accuracy, interval = accuracy_over_seeds(list(by_seed.values()))
    values = {seed: sum(one.values()) / len(one) for seed, one in by_seed.items()}
    return StudyAccuracy(
        arm=label,
        **_cell(source, prompts, split, run, list(by_seed.values())),
        stamp=run.settings.splits[split].stamp,
        accuracy=accuracy,
        by_image=interval,
        **(_spread(values, (0.0, 1.0)) | ({"seed_sd": None, "over_seeds": None} if label.startswith(BASE) else {})),
    )


def _differences(
    spec: StudySpec,
    comparison: ComparisonSpec,
    prompts: str,
    first: Sequence[Completions],
    second: Sequence[Completions],
) -> list[StudyDifference]:
    """One difference a split, over the seeds that both sides have."""
    others = {one.seed: one for one in second}
    pairs = [(one, others[one.seed]) for one in first if one.seed in others]
    result = []
    for split in _splits(spec, [one for pair in pairs for one in pair]):
        by_seed = {a.seed: _shared(a, b, split, spec.eval.grade) for a, b in pairs}
        by_seed = {seed: sides for seed, sides in by_seed.items() if sides[0]}
        if by_seed:
            differ = [line for a, b in pairs for line in _settings_differ(a, b, comparison)]
            result.append(_difference(comparison, prompts, split, pairs[0][1], by_seed, differ))
    return result


def _difference(
    comparison: ComparisonSpec,
    prompts: str,
    split: str,
    run: Completions,
    by_seed: dict[int, tuple[Scores, Scores]],
    differ: Sequence[str],
) -> StudyDifference:
    first, second = [one for one, _ in by_seed.values()], [other for _, other in by_seed.values()]
    difference, interval, p = difference_over_seeds(first, second)
    values = {seed: (sum(other.values()) - sum(one.values())) / len(one) for seed, (one, other) in by_seed.items()}
    return StudyDifference(
        label=labelled(comparison),
        first=comparison.first,
        second=comparison.second,
        first_prompts=comparison.first_prompts or prompts,
        **_cell(run.source, prompts, split, run, second),
        first_accuracy=accuracy_over_seeds(first)[0],
        second_accuracy=accuracy_over_seeds(second)[0],
        difference=difference,
        by_image=interval,
        **_spread(values, (-1.0, 1.0)),
        p_by_image=p,
        p_holm=p,
        settings_differ=tuple(dict.fromkeys(differ)),
    )


def _shared(first: Completions, second: Completions, split: str, grade: str) -> tuple[Scores, Scores]:
    """The scores of the questions that both have, with equal text, gold answer and options."""
    one, other = ({question_key(row): row for row in side.of_split(split)} for side in (first, second))
    keys = [key for key in one if key in other and all(one[key].get(f) == other[key].get(f) for f in _QUESTION)]
    return scores([one[key] for key in keys], grade), scores([other[key] for key in keys], grade)


def _settings_differ(first: Completions, second: Completions, comparison: ComparisonSpec) -> list[str]:
    one, other = ({question_key(row): row for row in side.rows} for side in (first, second))
    lines = different_settings(first.as_compared(), second.as_compared(), one, other)
    expected = "prompt_digest" if comparison.first_prompts else ""
    return [line for line in lines if not expected or not line.startswith(expected)]


def _spread(values: dict[int, float], bounds: Interval) -> dict[str, Any]:
    several = list(values.values())
    return {
        "by_seed": {str(seed): value for seed, value in values.items()},
        "seed_sd": stdev(several) if len(several) > 1 else None,
        "over_seeds": seed_interval(several, bounds),
    }
