"""Make pairs of completions for DPO, as `lowmed data pairs` does."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from lowmed.files import disk_errors, require_absent, to_jsonl, write_text

    file = Path(out)
    require_absent(file, "the file", "choose another --out; nothing was written")
    report = pairs_of_probe(Path(probe), per_question)
    rows = ({"id": row.id, "chosen": row.pair.chosen, "rejected": row.pair.rejected} for row in report.pairs)
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, to_jsonl(rows, ascii_only=True))
    return report
