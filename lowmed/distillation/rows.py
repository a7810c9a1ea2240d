"""The rows of the new data set, and the error if there are none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lowmed.distillation import filters
from lowmed.distillation.selection import TEMPLATE, Selection
from lowmed.errors import DataError
from lowmed.sample import Sample

STRATUM = "distilled"
_FIXES = {
    filters.REJECTED: "read the server's log, and choose another teacher, with another --out",
    filters.TRUNCATED: "raise --max-new-tokens, with another --out",
    filters.FORM: "choose a teacher that writes the tags of the prompts, or --prompts NAME, with another --out",
    filters.UNREAD: "choose another teacher, with another --out",
    filters.WRONG: "choose a better teacher with another --out, raise --samples, or add --rationalize",
    filters.HINT: "choose another teacher, with another --out",
    TEMPLATE: "choose a teacher that describes the image, with another --out",
}


def training_rows(train: Sequence[Sample], selection: Selection, *, keep_all: bool) -> list[Sample]:
    """Training questions with kept reasoning, several rows for several completions, in the order of the source.

    The first row keeps its id, and all keep their group. The stratum `distilled` is `sampled`, or `rationalized` if the
    prompt showed the answer.

    Args:
        train: the training questions.
        selection: the kept completions.
        keep_all: whether questions without a kept completion stay, unchanged.
    """
    ids = {sample.id for sample in train}
    rows = []
    for sample in train:
        kept = selection.kept.get(sample.id, [])
        if keep_all and not kept:
            rows.append(sample)
        for number, one in enumerate(kept, start=1):
            how = "rationalized" if one.hinted else "sampled"
            strata = tuple(sorted((dict(sample.strata) | {STRATUM: how}).items()))
            name = sample.id if number == 1 else _free(f"{sample.id}#{number}", ids)
            rows.append(replace(sample, id=name, explanation=one.reasoning, strata=strata))
    return rows


def require_kept(selection: Selection, completions: Path) -> None:
    """Refuse a distillation without a kept completion.

    Raises:
        DataError: there is none; with the rate of each reason.
    """
    if selection.kept:
        return
    ranked = Counter(why for _, why in selection.dropped).most_common()
    total = len(selection.dropped)
    rates = ", ".join(f"{why} {number / total:.0%}" for why, number in ranked)
    raise DataError(
        f"none of {total:,} completions can be kept, so no data set is written",
        f"{rates}; all of them are in {completions}",
        _FIXES.get(ranked[0][0] if ranked else "", "choose another teacher, with another --out"),
    )


def notes(rows: Sequence[Sample], left_out: int) -> dict[str, int]:
    """For the card of the data: rows by what was done with them.

    Args:
        rows: the training rows.
        left_out: training questions without a row.
    """
    marks = Counter(dict(row.strata).get(STRATUM) for row in rows)
    counts = {
        "the explanation is reasoning of a teacher": marks["sampled"],
        "the explanation is reasoning of a teacher that was shown the answer": marks["rationalized"],
        "training questions left out: not distilled, or without a kept completion": left_out,
    }
    return {note: count for note, count in counts.items() if count}


def _free(name: str, ids: set[str]) -> str:
    while name in ids:
        name += "'"
    ids.add(name)
    return name
