"""Filter and order training questions by the pass counts of `lowmed probe`.

GRPO learns nothing from a question whose completions are all right or all wrong: every advantage is then zero.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lowmed.errors import DataError
from lowmed.recipe import DataSpec
from lowmed.sample import Sample

Reason = Literal["never probed", "never right", "always right", "too easy"]
_SHUFFLE_SEED = 42  # of MedVLThinker's order_easy_to_hard.py; it orders questions of one pass rate


@dataclass(frozen=True)
class Selection:
    """The training samples that the difficulty filter keeps, in training order, and those that it removes.

    Attributes:
        kept: the samples to train on.
        left_out: ids of the removed samples by reason.
    """

    kept: tuple[Sample, ...]
    left_out: Mapping[Reason, tuple[str, ...]]

    def describe(self, spec: DataSpec) -> tuple[str, ...]:
        """The effect of the filter as lines; empty if the recipe names no difficulty file."""
        if spec.difficulty is None:
            return ()
        reasons = ", ".join(f"{len(ids):,} {reason}" for reason, ids in self.left_out.items())
        removed = sum(map(len, self.left_out.values()))
        return (
            f"{len(self.kept):,} training questions, {removed:,} left out by {spec.difficulty}"
            + (f": {reasons}" if reasons else ""),
            f"order {spec.order}",
        )


def filter_by_difficulty(samples: Sequence[Sample], spec: DataSpec) -> Selection:
    """The samples to train on; all of them if the recipe names no difficulty file.

    A sample is kept if it was answered correctly sometimes but not always, and at most at the rate `max_pass_rate`.
    Samples without a pass count are removed, as in MedVLThinker. `easy_to_hard` sorts by pass rate, highest first;
    a shuffle with a fixed seed orders samples of one rate.

    Raises:
        DataError: the file is missing or damaged, contains none of the samples, or would leave none of them.
    """
    if spec.difficulty is None:
        return Selection(tuple(samples), {})
    file = Path(spec.difficulty).expanduser()
    rates = read_pass_rates(file)
    if not any(sample.id in rates for sample in samples):
        raise DataError(
            "none of the training samples was probed", str(file), "probe these data: lowmed probe MODEL --on DATA"
        )
    reasons = {sample.id: _reason_to_remove(rates.get(sample.id), spec.max_pass_rate) for sample in samples}
    kept = tuple(sample for sample in samples if reasons[sample.id] is None)
    if not kept:
        raise DataError(
            "the difficulty file leaves no training question: each is always right, never right, too easy, or was "
            "never probed",
            str(file),
            "train by SFT first, raise data.max_pass_rate, probe more questions, or use other data",
        )
    if spec.order == "easy_to_hard":
        shuffled = random.Random(_SHUFFLE_SEED).sample(kept, len(kept))
        kept = tuple(sorted(shuffled, key=lambda sample: -rates[sample.id]))
    by_reason = {reason: tuple(name for name, why in reasons.items() if why == reason) for reason in get_args(Reason)}
    return Selection(kept, {reason: names for reason, names in by_reason.items() if names})


def _reason_to_remove(rate: float | None, max_pass_rate: float) -> Reason | None:
    if rate is None:
        return "never probed"
    if rate in (0, 1):
        return "always right" if rate else "never right"
    return "too easy" if rate > max_pass_rate else None


def read_pass_rates(file: Path) -> dict[str, float]:
    """The share of correct completions by sample id.

    Raises:
        DataError: the file is missing, or a line of it cannot be parsed.
    """
    if not file.is_file():
        raise DataError("the difficulty file does not exist", str(file), "write it with: lowmed probe MODEL --on DATA")
    rates = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the difficulty file cannot be read ({error})", str(file), "run the probe again") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rates[str(row["id"])] = int(row["correct"]) / int(row["completions"])
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(f"cannot parse this line ({reason})", f"{file}:{number}", "run the probe again") from error
    return rates
