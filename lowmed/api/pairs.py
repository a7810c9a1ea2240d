"""Make pairs or labeled completions of a probe, for DPO and KTO, as `lowmed data pairs` does."""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowmed.evaluation.labeled_completions import LabeledReport
    from lowmed.evaluation.preference_pairs import PairsReport

PER_QUESTION = 2


def make_pairs(
    probe: str | PathLike[str], out: str | PathLike[str], *, per_question: int = PER_QUESTION
) -> "PairsReport":
    """Write pairs of a right and a wrong sampled completion of each training question that a probe has both of.

    Args:
        probe: the folder of a probe.
        out: the file to write, JSON lines with `id`, `chosen` and `rejected`; `data.pairs` of a recipe names it.
        per_question: most pairs of a question.

    Raises:
        RunError: the folder holds something else than a probe, or the file exists.
        DataError: no question gives a pair.
    """
    from lowmed.evaluation.preference_pairs import pairs_of_probe

    _require_absent(Path(out))
    report = pairs_of_probe(Path(probe), per_question)
    rows = ({"id": row.id, "chosen": row.pair.chosen, "rejected": row.pair.rejected} for row in report.pairs)
    _write(Path(out), rows)
    return report


def make_unpaired(
    probe: str | PathLike[str], out: str | PathLike[str], *, per_question: int = PER_QUESTION
) -> "LabeledReport":
    """Write the right sampled completions of a probe as good ones, and the wrong ones as bad ones.

    Args:
        probe: the folder of a probe.
        out: the file to write, JSON lines with `id`, `completion` and `label`; `data.unpaired` of a recipe names it.
        per_question: most good and most bad completions of a question.

    Raises:
        RunError: the folder holds something else than a probe, or the file exists.
        DataError: no completion is right, or none is wrong.
    """
    from lowmed.evaluation.labeled_completions import labeled_of_probe

    _require_absent(Path(out))
    report = labeled_of_probe(Path(probe), per_question)
    _write(
        Path(out),
        ({"id": row.id, "completion": row.completion.completion, "label": row.completion.label} for row in report.rows),
    )
    return report


def _require_absent(file: Path) -> None:
    from lowmed.files import require_absent

    require_absent(file, "the file", "choose another --out; nothing was written")


def _write(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    from lowmed.files import disk_errors, to_jsonl, write_text

    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, to_jsonl(rows, ascii_only=True))
