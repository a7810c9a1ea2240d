"""Two sets of completions to the same questions, set against each other."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.errors import RunError
from lowmed.evaluate.compare_inputs import SAME, ComparedRun
from lowmed.evaluate.judge_scores import OPEN
from lowmed.evaluate.metrics import FEW, STRATA, correct_flags, strata
from lowmed.evaluate.paired_tests import difference, holm

EXAMPLES = 5
Row = Mapping[str, Any]
Key = tuple[str, str, str]  # split, id, image or patient
_ASKED = ("question", "answer", "options")


def compare(
    first: Mapping[str, ComparedRun],
    second: Mapping[str, ComparedRun],
    *,
    strict: bool = False,
    allow_different: bool = False,
) -> dict[str, Any]:
    """The second side minus the first, for every data source that both have.

    Args:
        first: source -> completions.
        second: the same of the other side.
        strict: count strict verdicts; otherwise lenient ones.
        allow_different: compare what both were asked, even where settings or questions differ.

    Raises:
        RunError: nothing in common, or something differs and was not allowed to.
    """
    if len(first) == len(second) == 1:  # scored files name no source
        ((name, one),), ((_, other),) = first.items(), second.items()
        pairs = {name or "all": (one, other)}
    else:
        pairs = {name: (first[name], second[name]) for name in first if name in second}
    if not pairs:
        what = f"evaluated on {', '.join(first)} and on {', '.join(second)}: no source in common"
        raise RunError(what, _where(first, second), "evaluate both on the same source")
    result = {name: _source(one, other, strict, allow_different) for name, (one, other) in pairs.items()}
    corrected = holm({name: part["all"]["p_mcnemar"] for name, part in result.items()})
    return {
        "first": [side.where for side in first.values()],
        "second": [side.where for side in second.values()],
        "verdict": "strict" if strict else "lenient",
        "sources": {name: {**part, "p_holm": corrected[name]} for name, part in result.items()},
    }


def _source(first: ComparedRun, second: ComparedRun, strict: bool, allow_different: bool) -> dict[str, Any]:
    one, other = ({_key(row): row for row in side.rows} for side in (first, second))
    differing = _differences(first, second, one, other)
    if differing and not allow_different:
        raise RunError(
            "the two were not asked the same: " + "; ".join(differing),
            f"{first.where} and {second.where}",
            "make them equal, or compare what both were asked with --allow-different",
        )
    shared = [key for key in one if key in other and _same_question(one[key], other[key])]
    if not shared:
        raise RunError("no question in common", f"{first.where} and {second.where}", "compare the same data")
    field = "strict_outcome" if strict else "outcome"
    before, after = [one[key] for key in shared], [other[key] for key in shared]
    return {
        "differing": differing,
        "all": _difference(before, after, field),
        **{f"by_{name}": _by(before, after, field, key) for name, key in STRATA.items()},
        "by_split": _by(before, after, field, lambda row: str(row["split"])),
        "flipped": {
            "to_right": _flips(before, after, field, "correct"),
            "to_wrong": _flips(after, before, field, "correct", back=True),
        },
        "judged": _judged(first, second, [key for key in shared if one[key]["kind"] in OPEN]),
        "judged_apart": _judged_apart(first, second),
    }


def _key(row: Row) -> Key:
    return str(row["split"]), str(row["id"]), str(row["group"])


def _same_question(one: Row, other: Row) -> bool:
    return all((one.get(field) or None) == (other.get(field) or None) for field in _ASKED)


def _differences(
    first: ComparedRun, second: ComparedRun, one: Mapping[Key, Row], other: Mapping[Key, Row]
) -> list[str]:
    """What is not the same on both sides, in words; a setting that only one side knows of cannot be compared."""
    a, b = first.settings, second.settings
    result = [f"{key} {a[key]} and {b[key]}" for key in SAME if key in a and key in b and a[key] != b[key]]
    if len(one) != len(first.rows) or len(other) != len(second.rows):
        result.append("some ids stand for several rows")
    alone = len(one.keys() ^ other.keys())
    if alone:
        result.append(f"{alone} questions (by id and image) are on one side alone")
    reworded = sum(not _same_question(one[key], other[key]) for key in one.keys() & other.keys())
    if reworded:
        result.append(f"{reworded} questions have another text, gold answer or options")
    return result


def _difference(before: Sequence[Row], after: Sequence[Row], field: str) -> dict[str, Any]:
    return difference(correct_flags(before, field), correct_flags(after, field), [str(row["group"]) for row in before])


def _judged(first: ComparedRun, second: ComparedRun, open_keys: Sequence[Key]) -> list[dict[str, Any]]:
    """The open questions by each judge, with one rubric, that gave its verdict on both completions."""
    result = []
    for judge in first.verdicts.keys() & second.verdicts.keys():
        one, other = first.verdicts[judge], second.verdicts[judge]
        keys = [key for key in open_keys if key[:2] in one and key[:2] in other]
        if keys:
            before, after = ([float(side[key[:2]]) for key in keys] for side in (one, other))
            paired = difference(before, after, [group for _, _, group in keys])
            result.append({"judge": json.loads(judge), "no_verdict": len(open_keys) - len(keys), **paired})
    return sorted(result, key=lambda each: json.dumps(each["judge"]))


def _judged_apart(first: ComparedRun, second: ComparedRun) -> str:
    """Why judged scores that are there are not set against each other, in words; "" where nothing is kept back."""
    if not (first.verdicts.keys() ^ second.verdicts.keys()) or first.verdicts.keys() & second.verdicts.keys():
        return ""
    judges = [" and ".join(map(_judge_named, side.verdicts)) or "nobody" for side in (first, second)]
    return (
        f"A was judged by {judges[0]}, B by {judges[1]}: scores of different judges are not compared. "
        "Give both `lowmed eval RUN --rescore` with one --judge-url and --judge-model"
    )


def _judge_named(identity: str) -> str:
    judge = json.loads(identity)
    return f"{judge['model']} (rubric {judge['rubric_digest']})"


def _by(before: Sequence[Row], after: Sequence[Row], field: str, key: Any) -> dict[str, Any]:
    places = strata([{"at": at, "cell": key(row)} for at, row in enumerate(before)], lambda row: row["cell"])
    return {
        name: {
            **_difference([before[row["at"]] for row in cell], [after[row["at"]] for row in cell], field),
            "few": len(cell) < FEW,
        }
        for name, cell in places.items()
    }


def _flips(
    before: Sequence[Row], after: Sequence[Row], field: str, value: str, *, back: bool = False
) -> list[dict[str, Any]]:
    """The first few questions that `before` had not right and `after` has."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a[field] != value and b[field] == value]
    return [
        {
            "id": a["id"],
            "question": a["question"],
            "answer": a["answer"],
            "first": (b if back else a)["completion"],
            "second": (a if back else b)["completion"],
        }
        for a, b in pairs[:EXAMPLES]
    ]


def _where(first: Mapping[str, ComparedRun], second: Mapping[str, ComparedRun]) -> str:
    return " and ".join(side.where for side in (*first.values(), *second.values()))
