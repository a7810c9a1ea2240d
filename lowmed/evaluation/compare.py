"""Comparison of two systems' completions of the same questions."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lowmed.errors import RunError
from lowmed.evaluation.box_difference import iou_difference
from lowmed.evaluation.classification_difference import classification_difference
from lowmed.evaluation.compare_inputs import ComparedRun
from lowmed.evaluation.judge_scores import OPEN
from lowmed.evaluation.metrics import STRATA, correct_flags, groups_of, is_few, right_or_wrong, strata_keys
from lowmed.evaluation.paired_tests import holm, paired_difference
from lowmed.evaluation.probabilities import auroc_difference
from lowmed.evaluation.records import (
    Comparison,
    Example,
    Flips,
    JudgedDifference,
    PairedDifference,
    SourceComparison,
    StratumDifference,
)
from lowmed.evaluation.report_difference import main_difference, report_difference, report_difference_by_split
from lowmed.judge.records import JudgeIdentity
from lowmed.records import printable

EXAMPLES = 5
Row = Mapping[str, Any]
QuestionKey = tuple[str, str, str]  # split, id, image or patient
_QUESTION_FIELDS = ("question", "answer", "options")


def compare(
    first: Mapping[str, ComparedRun],
    second: Mapping[str, ComparedRun],
    *,
    strict: bool = False,
    allow_different: bool = False,
) -> Comparison:
    """Second minus first, for every data source that both have.

    Args:
        first: source -> completions.
        second: source -> completions of the other system.
        strict: compare strict grades; otherwise lenient ones.
        allow_different: compare the shared questions even if settings or questions differ.

    Raises:
        RunError: nothing in common, or a difference that was not allowed.
    """
    if len(first) == len(second) == 1:  # files of `lowmed score` name no source
        ((name, one),), ((_, other),) = first.items(), second.items()
        pairs = {name or "all": (one, other)}
    else:
        pairs = {name: (first[name], second[name]) for name in first if name in second}
    if not pairs:
        what = f"no data source in common: evaluated on {', '.join(first)} and on {', '.join(second)}"
        raise RunError(what, _where(first, second), "evaluate both on the same source")
    sources = {name: _source(one, other, strict, allow_different) for name, (one, other) in pairs.items()}
    corrected = holm({name: source.p_holm for name, source in sources.items()})
    return Comparison(
        first=tuple(side.where for side in first.values()),
        second=tuple(side.where for side in second.values()),
        grade="strict" if strict else "lenient",
        sources={name: source.model_copy(update={"p_holm": corrected[name]}) for name, source in sources.items()},
    )


def _source(first: ComparedRun, second: ComparedRun, strict: bool, allow_different: bool) -> SourceComparison:
    one, other = ({question_key(row): row for row in side.rows} for side in (first, second))
    differences = different_settings(first, second, one, other)
    if differences and not allow_different:
        raise RunError(
            "the two evaluations differ: " + "; ".join(differences),
            f"{first.where} and {second.where}",
            "evaluate both with equal settings, or compare the shared questions with --allow-different",
        )
    shared = [key for key in one if key in other and _same_question(one[key], other[key])]
    if not shared:
        raise RunError("no question in common", f"{first.where} and {second.where}", "compare the same data")
    field = "strict_outcome" if strict else "outcome"
    before, after = [one[key] for key in shared], [other[key] for key in shared]
    reports, reports_by_split = report_difference(before, after), report_difference_by_split(before, after)
    graded = [pair for pair in zip(before, after, strict=True) if right_or_wrong(pair[:1])]
    before, after = [a for a, _ in graded], [b for _, b in graded]
    overall = _difference(before, after, field) if graded else None
    by_stratum = {f"by_{name}": _by(before, after, field, key) for name, key in STRATA.items()}
    return SourceComparison(
        differences=tuple(differences),
        all=overall,
        **by_stratum,
        by_split=_by(before, after, field, lambda row: str(row["split"])),
        by_strata={column: _by(before, after, field, key) for column, key in strata_keys(before).items()},
        classification=classification_difference(before, after, field),
        box_iou=iou_difference(before, after),
        reports=reports,
        reports_by_split=reports_by_split,
        auroc=auroc_difference((before, first.probabilities), (after, second.probabilities)),
        flipped=Flips(to_correct=_flips(before, after, field), to_incorrect=_flips(after, before, field, swapped=True)),
        judged=_judged(first, second, [key for key in shared if one[key]["kind"] in OPEN]),
        judges_differ=_judges_differ(first, second),
        p_holm=overall.p_by_image if overall else main_difference(reports or {})[1].p_by_image,
    )


def question_key(row: Row) -> QuestionKey:
    """What identifies a question: split, id, image or patient."""
    return str(row["split"]), str(row["id"]), str(row["group"])


def _same_question(one: Row, other: Row) -> bool:
    return all((one.get(field) or None) == (other.get(field) or None) for field in _QUESTION_FIELDS)


def different_settings(
    first: ComparedRun, second: ComparedRun, one: Mapping[QuestionKey, Row], other: Mapping[QuestionKey, Row]
) -> list[str]:
    """List what differs between the two sides. A setting that is known on one side only is not compared."""
    a, b = first.comparable(), second.comparable()
    result = [f"{name} {a[name]} and {b[name]}" for name in a if name in b and a[name] != b[name]]
    if len(one) != len(first.rows) or len(other) != len(second.rows):
        result.append("several rows share an id")
    unshared = len(one.keys() ^ other.keys())
    if unshared:
        result.append(f"{unshared} questions (by id and image) are on one side only")
    reworded = sum(not _same_question(one[key], other[key]) for key in one.keys() & other.keys())
    if reworded:
        result.append(f"{reworded} questions have another text, gold answer or options")
    return result


def _difference(before: Sequence[Row], after: Sequence[Row], field: str) -> PairedDifference:
    return paired_difference(correct_flags(before, field), correct_flags(after, field), groups_of(before))


def _judged(first: ComparedRun, second: ComparedRun, open_keys: Sequence[QuestionKey]) -> tuple[JudgedDifference, ...]:
    """The difference on open questions, for every judge and rubric with verdicts on both sides."""
    result = []
    for identity in sorted(first.verdicts.keys() & second.verdicts.keys()):
        one, other = first.verdicts[identity], second.verdicts[identity]
        keys = [key for key in open_keys if key[:2] in one and key[:2] in other]
        if keys:
            before, after = ([float(side[key[:2]]) for key in keys] for side in (one, other))
            difference = paired_difference(before, after, [group for _, _, group in keys])
            result.append(
                JudgedDifference(
                    **dict(difference),
                    judge=JudgeIdentity.model_validate_json(identity),
                    no_verdict=len(open_keys) - len(keys),
                )
            )
    return tuple(result)


def _judges_differ(first: ComparedRun, second: ComparedRun) -> str:
    """Why stored judge scores are not compared; "" if they are, or if there are none."""
    if not (first.verdicts.keys() ^ second.verdicts.keys()) or first.verdicts.keys() & second.verdicts.keys():
        return ""
    judges = [" and ".join(map(_judge_name, side.verdicts)) or "no judge" for side in (first, second)]
    return (
        f"A was judged by {judges[0]}, B by {judges[1]}: scores of different judges are not compared. "
        "Run `lowmed eval RUN --rescore` on both with the same --judge-url and --judge-model"
    )


def _judge_name(identity: str) -> str:
    judge = json.loads(identity)
    return f"{judge['model']} (rubric {judge['rubric_digest']})"


def _by(
    before: Sequence[Row], after: Sequence[Row], field: str, key: Callable[[Row], str]
) -> dict[str, StratumDifference]:
    names = sorted({name for row in before if (name := key(row))})
    result = {}
    for name in names:
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if key(a) == name]
        rows = [a for a, _ in pairs]
        difference = _difference(rows, [b for _, b in pairs], field)
        result[name] = StratumDifference(**dict(difference), few=is_few(rows))
    return result


def _flips(before: Sequence[Row], after: Sequence[Row], field: str, *, swapped: bool = False) -> tuple[Example, ...]:
    """The first few questions that are correct in `after` only; `swapped` if `after` is the first system."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a[field] != "correct" and b[field] == "correct"]
    return tuple(
        Example(
            id=_printable(a["id"]),
            question=_printable(a["question"]),
            answer=_printable(a["answer"]),
            first=_printable((b if swapped else a)["completion"]),
            second=_printable((a if swapped else b)["completion"]),
        )
        for a, b in pairs[:EXAMPLES]
    )


def _printable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def _where(first: Mapping[str, ComparedRun], second: Mapping[str, ComparedRun]) -> str:
    return " and ".join(side.where for side in (*first.values(), *second.values()))
