"""Answers as a clinician reads them: sensitivity, specificity, predictive values and F1, and tables of classes.

An unread answer to a yes/no question counts as the wrong answer: it is a missed positive if the gold answer is yes, and
a false positive if it is no. An unread answer to a choice is a missed case of its class, and a case of no other class.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lowmed.answer import is_yes_no
from lowmed.answer.yes_no import read_yes_no
from lowmed.evaluation.combined_intervals import Measured, measured_share, weighted_sum
from lowmed.evaluation.intervals import Interval, too_few
from lowmed.evaluation.records import (
    AnswerCounts,
    ChoiceTask,
    Classification,
    ClassMetrics,
    Figure,
    YesNoMetrics,
)
from lowmed.evaluation.score import question_of_row

MIN_TASK = 10  # questions with the same options that make a classification; fewer are single questions
OTHER = {"yes": "no", "no": "yes"}
SHARE: Interval = (0.0, 1.0)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A question with a fixed set of answers. `answer` is None if it is unread."""

    gold: str
    answer: str | None
    group: str


def classification(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], str]]) -> Classification | None:
    """The figures of scored rows; None without yes/no questions and choice tasks.

    Args:
        rows: scored rows; answers are read leniently.
        columns: name -> value of a row, by which the yes/no questions are shown too. Columns with one value are not.
    """
    cases = [(row, case) for row in rows if (case := yes_no_case(row))]
    tasks = choice_tasks(rows)
    if not cases and not tasks:
        return None
    by_column = {name: _by_value(cases, key) for name, key in columns.items()}
    return Classification(
        yes_no=yes_no_metrics([case for _, case in cases]) if cases else None,
        yes_no_by={name: by_value for name, by_value in by_column.items() if len(by_value) > 1},
        tasks=tuple(task_metrics(options, [choice_case(rows[at]) for at in task]) for options, task in tasks.items()),
    )


def yes_no_case(row: Row, field: str = "outcome") -> Case | None:
    """The case of a closed question whose gold answer is yes or no; None for other questions.

    Args:
        row: a scored row.
        field: the grade by which an answer is unread: `outcome` or `strict_outcome`.
    """
    if row["kind"] != "closed":
        return None
    golds = {read_yes_no(gold)[0] for gold in question_of_row(row, str(row["id"])).golds if is_yes_no(gold)}
    gold = next(iter(golds)) if len(golds) == 1 else None  # both are right: neither a positive nor a negative
    return Case(gold, _answer(row, field), str(row["group"])) if gold else None


def choice_tasks(rows: Sequence[Row]) -> dict[tuple[str, ...], list[int]]:
    """The sorted options of each choice task -> the places of its rows, the task with the most questions first.

    Questions belong to one task if they have the same options, in any order, and one gold answer. Fewer than 10 of them
    are not a task: options that differ by question have no classes.
    """
    tasks: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        if row["kind"] == "choice" and row.get("options") and len(_golds(row)) == 1:
            tasks[tuple(sorted(row["options"]))].append(at)
    large = {options: task for options, task in tasks.items() if len(task) >= MIN_TASK}
    return dict(sorted(large.items(), key=lambda item: (-len(item[1]), item[0])))


def choice_case(row: Row, field: str = "outcome") -> Case:
    """The case of a question of a choice task; arguments as for `yes_no_case`."""
    return Case(_golds(row)[0], _answer(row, field), str(row["group"]))


def yes_no_metrics(cases: Sequence[Case]) -> YesNoMetrics:
    """The figures of at least one yes/no question; yes is the positive result."""
    counts = Counter((case.gold, case.answer) for case in cases)
    counted = counted_as_wrong(cases)
    return YesNoMetrics(
        questions=len(cases),
        images=len({case.group for case in cases}),
        few=too_few([case.group for case in cases]),
        prevalence=sum(case.gold == "yes" for case in cases) / len(cases),
        gold_yes=_answer_counts(counts, "yes"),
        gold_no=_answer_counts(counts, "no"),
        **{name: _figure(measure(counted)) for name, measure in YES_NO_SHARES.items()},
        balanced_accuracy=balanced_accuracy(counted),
    )


def task_metrics(classes: Sequence[str], cases: Sequence[Case]) -> ChoiceTask:
    """The figures of one choice task with at least one question."""
    counts = Counter((case.gold, case.answer) for case in cases)
    return ChoiceTask(
        classes=tuple(classes),
        questions=len(cases),
        images=len({case.group for case in cases}),
        few=too_few([case.group for case in cases]),
        counts=tuple(tuple(counts[gold, answer] for answer in (*classes, None)) for gold in classes),
        by_class={
            name: ClassMetrics(
                gold=sum(case.gold == name for case in cases),
                answered=sum(case.answer == name for case in cases),
                sensitivity=_figure(recall(cases, name)),
                ppv=_figure(precision(cases, name)),
                f1=_figure(f1(cases, name)),
            )
            for name in classes
        },
        macro_f1=_mean(f1_scores(cases)),
        balanced_accuracy=balanced_accuracy(cases),
    )


def counted_as_wrong(cases: Iterable[Case]) -> list[Case]:
    """Yes/no cases in which an unread answer is the wrong one."""
    return [case if case.answer else replace(case, answer=OTHER[case.gold]) for case in cases]


def recall(cases: Iterable[Case], name: str) -> Measured | None:
    """The share of the gold answers `name` that are answered so: the sensitivity, or for no the specificity."""
    return _share([(float(case.answer == name), case.group) for case in cases if case.gold == name])


def precision(cases: Iterable[Case], name: str) -> Measured | None:
    """The share of the answers `name` that are right: the positive, or for no the negative predictive value."""
    return _share([(float(case.gold == name), case.group) for case in cases if case.answer == name])


def f1(cases: Iterable[Case], name: str) -> Measured | None:
    """2 TP / (2 TP + FP + FN) as a share: a true positive is two right units, an error is one wrong unit."""
    units = []
    for case in cases:
        if case.gold == case.answer == name:
            units += [(1.0, case.group)] * 2
        elif name in (case.gold, case.answer):
            units.append((0.0, case.group))
    return _share(units)


YES_NO_SHARES: dict[str, Callable[[Sequence[Case]], Measured | None]] = {
    "sensitivity": lambda cases: recall(cases, "yes"),
    "specificity": lambda cases: recall(cases, "no"),
    "ppv": lambda cases: precision(cases, "yes"),
    "npv": lambda cases: precision(cases, "no"),
    "f1": lambda cases: f1(cases, "yes"),
}


def recalls(cases: Sequence[Case]) -> list[Measured]:
    """The recall of each gold class, whose mean is the balanced accuracy; empty if there are fewer than two."""
    return _of_classes(cases, sorted({case.gold for case in cases}), recall)


def balanced_accuracy(cases: Sequence[Case]) -> Figure | None:
    """The mean of the recalls; None with fewer than two gold classes."""
    return _mean(recalls(cases))


def f1_scores(cases: Sequence[Case]) -> list[Measured]:
    """The F1 of each class that is a gold answer or an answer; empty if there are fewer than two gold classes."""
    names = {case.gold for case in cases} | {case.answer for case in cases if case.answer is not None}
    return _of_classes(cases, sorted(names), f1)


def _of_classes(
    cases: Sequence[Case], names: Iterable[str], measure: Callable[[Sequence[Case], str], Measured | None]
) -> list[Measured]:
    if len({case.gold for case in cases}) < 2:
        return []
    return [share for name in names if (share := measure(cases, name))]


def _by_value(cases: Iterable[tuple[Row, Case]], key: Callable[[Row], str]) -> dict[str, YesNoMetrics]:
    by_value: dict[str, list[Case]] = defaultdict(list)
    for row, case in cases:
        if value := key(row):
            by_value[value].append(case)
    return {value: yes_no_metrics(by_value[value]) for value in sorted(by_value)}


def _golds(row: Row) -> tuple[str, ...]:
    return question_of_row(row, str(row["id"])).golds


def _answer(row: Row, field: str) -> str | None:
    return None if row[field] == "unread" else row["parsed"]


def _answer_counts(counts: Mapping[tuple[str, str | None], int], gold: str) -> AnswerCounts:
    return AnswerCounts(yes=counts[gold, "yes"], no=counts[gold, "no"], unread=counts[gold, None])


def _share(scores: Sequence[tuple[float, str]]) -> Measured | None:
    return measured_share([score for score, _ in scores], [group for _, group in scores])


def _figure(share: Measured | None) -> Figure | None:
    return Figure(value=share.value, by_image=share.interval) if share else None


def _mean(parts: Sequence[Measured]) -> Figure | None:
    if not parts:
        return None
    value, interval = weighted_sum(parts, [1 / len(parts)] * len(parts), SHARE)
    return Figure(value=value, by_image=interval)
