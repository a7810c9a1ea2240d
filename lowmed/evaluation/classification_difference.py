"""Two systems' answers to the same questions as test results and classes, with paired intervals of the differences."""

from collections.abc import Sequence

from lowmed.evaluation.classification import (
    YES_NO_SHARES,
    Case,
    Row,
    choice_case,
    choice_tasks,
    counted_as_wrong,
    f1_scores,
    yes_no_case,
)
from lowmed.evaluation.combined_intervals import Measured, measured_change, weighted_sum
from lowmed.evaluation.intervals import Interval
from lowmed.evaluation.paired_tests import paired_difference
from lowmed.evaluation.records import (
    ChoiceTaskDifference,
    ClassificationDifference,
    FigureDifference,
    PairedDifference,
    YesNoDifference,
)

CHANGE: Interval = (-1.0, 1.0)
Pairs = Sequence[tuple[Case, Case]]


def classification_difference(
    before: Sequence[Row], after: Sequence[Row], field: str = "outcome"
) -> ClassificationDifference | None:
    """Second minus first on the same questions; None without yes/no questions and choice tasks.

    Args:
        before: scored rows of the first system.
        after: scored rows of the second system, in the same order.
        field: the compared grade, `outcome` or `strict_outcome`.
    """
    yes_no = [
        (first, second)
        for one, other in zip(before, after, strict=True)
        if (first := yes_no_case(one, field)) and (second := yes_no_case(other, field))
    ]
    tasks = [
        _task(classes, [(choice_case(before[at], field), choice_case(after[at], field)) for at in places])
        for classes, places in choice_tasks(before).items()
    ]
    if not yes_no and not tasks:
        return None
    return ClassificationDifference(yes_no=yes_no_difference(yes_no) if yes_no else None, tasks=tuple(tasks))


def yes_no_difference(pairs: Pairs) -> YesNoDifference:
    """The differences of two systems on the same yes/no questions, at least one."""
    first, second = (counted_as_wrong(cases) for cases in zip(*pairs, strict=True))
    counted = list(zip(first, second, strict=True))

    def of(name: str) -> FigureDifference | None:
        shares = [YES_NO_SHARES[name](cases) for cases in (first, second)]
        one, other = ([share] if share else [] for share in shares)
        return _difference(counted, one, other)

    return YesNoDifference(
        sensitivity=_recall(counted, "yes"),
        specificity=_recall(counted, "no"),
        ppv=of("ppv"),
        npv=of("npv"),
        f1=of("f1"),
        balanced_accuracy=_balanced_accuracy(counted),
    )


def _task(classes: tuple[str, ...], pairs: Pairs) -> ChoiceTaskDifference:
    first, second = (list(cases) for cases in zip(*pairs, strict=True))
    return ChoiceTaskDifference(
        classes=classes,
        macro_f1=_difference(pairs, f1_scores(first), f1_scores(second)),
        balanced_accuracy=_balanced_accuracy(pairs),
    )


def _recall(pairs: Pairs, name: str) -> PairedDifference | None:
    of_class = [(one, other) for one, other in pairs if one.gold == name]
    if not of_class:
        return None
    first, second = ([float(case.answer == name) for case in cases] for cases in zip(*of_class, strict=True))
    return paired_difference(first, second, [case.group for case, _ in of_class])


def _difference(pairs: Pairs, first: Sequence[Measured], second: Sequence[Measured]) -> FigureDifference | None:
    """The difference of the means of two lists of shares; None if one list is empty."""
    if not first or not second:
        return None
    weights = [*[1 / len(second)] * len(second), *[-1 / len(first)] * len(first)]
    _, interval = weighted_sum([*second, *first], weights, CHANGE)
    before, after = (sum(share.value for share in shares) / len(shares) for shares in (first, second))
    return _record(pairs, before, after, interval)


def _balanced_accuracy(pairs: Pairs) -> FigureDifference | None:
    """The difference of the mean recalls: the mean of the paired changes of the classes; None with one gold class."""
    names = sorted({case.gold for case, _ in pairs})
    if len(names) < 2:
        return None
    differences, recalls = [], []
    for name in names:
        of_class = [(one, other) for one, other in pairs if one.gold == name]
        right = [(int(one.answer == name), int(other.answer == name)) for one, other in of_class]
        change = measured_change([after - before for before, after in right], [case.group for case, _ in of_class])
        differences += [change] if change else []
        recalls.append([sum(scores) / len(of_class) for scores in zip(*right, strict=True)])
    _, interval = weighted_sum(differences, [1 / len(names)] * len(names), CHANGE)
    before, after = (sum(values) / len(names) for values in zip(*recalls, strict=True))
    return _record(pairs, before, after, interval)


def _record(pairs: Pairs, before: float, after: float, interval: Interval) -> FigureDifference:
    return FigureDifference(
        questions=len(pairs),
        images=len({case.group for case, _ in pairs}),
        first=before,
        second=after,
        difference=after - before,
        by_image=interval,
    )
