"""How good the probabilities of answers are: AUROC, Brier score, and calibration."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from lowmed.answer import normalize
from lowmed.errors import RunError
from lowmed.evaluation.auroc import aurocs, delong_p
from lowmed.evaluation.classification import SHARE, choice_case, choice_tasks, yes_no_case, yes_no_metrics
from lowmed.evaluation.combined_intervals import weighted_sum
from lowmed.evaluation.records import (
    AurocDifference,
    Figure,
    ProbabilityMetrics,
    ReliabilityBin,
    SplitProbabilities,
    StoredProbabilities,
    TaskProbabilities,
    ThresholdMetrics,
)

BINS = 10  # of equal width
YES_NO = ("yes", "no")

Row = Mapping[str, Any]
Stored = Mapping[tuple[str, str], StoredProbabilities]  # by split and id


@dataclass(frozen=True)
class Prediction:
    """The probabilities of the options of one question, which sum to 1."""

    options: tuple[str, ...]
    probabilities: tuple[float, ...]
    gold: str
    group: str

    @property
    def yes(self) -> float:
        """The probability of yes."""
        return self.probabilities[self.options.index("yes")]


def options_of(row: Row) -> tuple[str, ...]:
    """The options whose probabilities are measured: yes and no, those of a choice, or none for other questions.

    A question whose gold answer is yes or no in another language than English has none.
    """
    if yes_no_case(row):
        return YES_NO if normalize(str(row["answer"])) in YES_NO else ()
    return tuple(row["options"]) if row["kind"] == "choice" and row.get("options") else ()


def split_probabilities(rows: Sequence[Row], stored: Stored, dev: Sequence[Row] = ()) -> SplitProbabilities:
    """The metrics of one system on the scored rows of one split.

    Args:
        rows: scored rows.
        stored: stored probabilities of these rows and of `dev`.
        dev: scored rows of the dev questions, on which the threshold is chosen.
    """
    return SplitProbabilities(
        yes_no=_metrics([row for row in rows if yes_no_case(row)], stored),
        choice=_metrics([row for row in rows if row["kind"] == "choice"], stored),
        tasks=_tasks(rows, stored),
        at_threshold=_at_threshold(rows, stored, dev),
    )


def youden_threshold(scores: Sequence[float], positive: Sequence[bool]) -> tuple[float, float]:
    """The threshold with the highest mean of sensitivity and specificity, and that mean.

    Of equal ones it is the nearest to 0.5. Thresholds are halfway between two neighboring scores, so that new scores
    near an old one are on its side.

    Args:
        scores: probabilities of yes.
        positive: whether the gold answer is yes; both answers occur.
    """
    distinct = sorted(set(scores))
    halfway = [(low + high) / 2 for low, high in pairwise(distinct)]
    positives = sum(positive)

    def balanced(threshold: float) -> float:
        right = [(score >= threshold) == gold for score, gold in zip(scores, positive, strict=True)]
        hits = sum(one for one, gold in zip(right, positive, strict=True) if gold)
        return (hits / positives + (sum(right) - hits) / (len(positive) - positives)) / 2

    values = {threshold: balanced(threshold) for threshold in (0.5, *halfway)}
    best = max(values, key=lambda threshold: (values[threshold], -abs(threshold - 0.5)))
    return best, values[best]


def _tasks(rows: Sequence[Row], stored: Stored) -> tuple[TaskProbabilities, ...]:
    """Each class against all others, for the choice tasks whose gold answers are of two classes or more."""
    results = []
    for classes, places in choice_tasks(rows).items():
        known = [one for at in places if (one := prediction(rows[at], stored))]
        golds = {one.gold for one in known}
        if len(golds) < 2:
            continue
        measured = {
            name: aurocs(
                [[one.probabilities[one.options.index(name)] for one in known]],
                [one.gold == name for one in known],
                [one.group for one in known],
            )[0][0]
            for name in classes
            if name in golds
        }
        macro, interval = weighted_sum(list(measured.values()), [1 / len(measured)] * len(measured), SHARE)
        results.append(
            TaskProbabilities(
                classes=classes,
                questions=len(known),
                auroc={name: Figure(value=one.value, by_image=one.interval) for name, one in measured.items()},
                macro_auroc=Figure(value=macro, by_image=interval),
            )
        )
    return tuple(results)


def _at_threshold(rows: Sequence[Row], stored: Stored, dev: Sequence[Row]) -> ThresholdMetrics | None:
    known = [one for row in dev if yes_no_case(row) and (one := prediction(row, stored))]
    golds = [one.gold == "yes" for one in known]
    cases = [(case, prediction(row, stored)) for row in rows if (case := yes_no_case(row))]
    if len(set(golds)) < 2 or not any(one for _, one in cases):
        return None
    threshold, balanced = youden_threshold([one.yes for one in known], golds)
    answers = [
        replace(case, answer=None if one is None else "yes" if one.yes >= threshold else "no") for case, one in cases
    ]
    return ThresholdMetrics(
        threshold=threshold,
        dev_questions=len(known),
        dev_balanced_accuracy=balanced,
        metrics=yes_no_metrics(answers),
    )


def auroc_difference(
    first: tuple[Sequence[Row], Stored], second: tuple[Sequence[Row], Stored]
) -> AurocDifference | None:
    """Second minus first on the yes/no questions with probabilities from both; None without both gold answers."""
    before, after = (
        {_key(row): one for row in rows if yes_no_case(row) and (one := prediction(row, stored))}
        for rows, stored in (first, second)
    )
    shared = [name for name in before if name in after]
    golds, groups = [before[name].gold == "yes" for name in shared], [before[name].group for name in shared]
    if len(set(golds)) < 2:
        return None
    scores = [[side[name].yes for name in shared] for side in (before, after)]
    (first_auroc, second_auroc), covariance = aurocs(scores, golds, groups)
    difference, interval = weighted_sum([second_auroc, first_auroc], [1, -1], (-1.0, 1.0))
    return AurocDifference(
        questions=len(shared),
        images=len(set(groups)),
        first=first_auroc.value,
        second=second_auroc.value,
        difference=difference,
        by_image=interval,
        p_delong=delong_p(difference, covariance, golds, groups),
    )


def prediction(row: Row, stored: Stored) -> Prediction | None:
    """The normalized probabilities of a yes/no or choice question; None without stored ones.

    Raises:
        RunError: they are those of other options.
    """
    import numpy as np

    line = stored.get(_key(row))
    if line is None or line["log_probs"] is None:
        return None
    if tuple(line["options"]) != options_of(row) or len(line["log_probs"]) != len(line["options"]):
        raise RunError(
            f"the stored probabilities of question {row['id']} are those of other options",
            "probabilities.<system>.jsonl of the evaluation",
            "delete the file, and repeat `lowmed eval` with --probabilities",
        )
    values = np.asarray(line["log_probs"], dtype=float)
    weights = np.exp(values - values.max())
    case = yes_no_case(row) or choice_case(row)
    return Prediction(tuple(line["options"]), tuple((weights / weights.sum()).tolist()), case.gold, case.group)


def _metrics(rows: Sequence[Row], stored: Stored) -> ProbabilityMetrics | None:
    predictions = [one for row in rows if (one := prediction(row, stored))]
    if not predictions:
        return None
    is_yes_no = rows[0]["kind"] == "closed"
    bins = reliability([_event(one, is_yes_no) for one in predictions])
    golds = [one.gold == "yes" for one in predictions]
    auroc = None
    if is_yes_no and len(set(golds)) == 2:
        ((measured,), _) = aurocs([[one.yes for one in predictions]], golds, [one.group for one in predictions])
        auroc = Figure(value=measured.value, by_image=measured.interval)
    return ProbabilityMetrics(
        questions=len(predictions),
        without=len(rows) - len(predictions),
        auroc=auroc,
        brier=sum(map(_brier, predictions)) / len(predictions),
        ece=sum(part.questions * abs(part.probability - part.share) for part in bins) / len(predictions),
        bins=bins,
    )


def by_question(lines: Iterable[StoredProbabilities]) -> Stored:
    """Stored lines by split and id."""
    return {(line["split"], line["id"]): line for line in lines}


def _key(row: Row) -> tuple[str, str]:
    return str(row["split"]), str(row["id"])


def _event(one: Prediction, is_yes_no: bool) -> tuple[float, bool]:
    if is_yes_no:
        return one.yes, one.gold == "yes"
    highest = max(one.probabilities)
    return highest, one.options[one.probabilities.index(highest)] == one.gold


def _brier(one: Prediction) -> float:
    return sum(
        (value - (option == one.gold)) ** 2 for option, value in zip(one.options, one.probabilities, strict=True)
    ) / 2  # fmt: skip


def reliability(events: Sequence[tuple[float, bool]]) -> tuple[ReliabilityBin, ...]:
    """The probabilities in ten bins of equal width; 1 is in the last one. Empty bins are left out.

    Args:
        events: predicted probability of an event, and whether it is true.
    """
    bins = []
    for number in range(BINS):
        inside = [(value, true) for value, true in events if min(int(value * BINS), BINS - 1) == number]
        if inside:
            mean, share = (sum(float(pair[at]) for pair in inside) / len(inside) for at in (0, 1))
            bins.append(ReliabilityBin(low=number / BINS, questions=len(inside), probability=mean, share=share))
    return tuple(bins)
