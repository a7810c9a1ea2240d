"""Filter and order training questions by the pass counts of `lowmed probe`.

GRPO learns nothing from a question whose completions are all right or all wrong: every advantage is then zero.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from lowmed.errors import DataError
from lowmed.recipe import DataSpec
from lowmed.sample import Sample


def filter_by_difficulty(samples: Sequence[Sample], spec: DataSpec, seed: int) -> tuple[Sample, ...]:
    """The samples to train on, in training order; all of them if the recipe names no difficulty file.

    `easy_to_hard` sorts by pass rate, highest first; samples without a pass count come last, and the seed orders ties.

    Raises:
        DataError: as `keep_informative`.
    """
    if spec.difficulty is None:
        return tuple(samples)
    file = Path(spec.difficulty).expanduser()
    kept = keep_informative(samples, file, max_pass_rate=spec.max_pass_rate)
    if spec.order == "shuffled":
        return kept
    rates = read_pass_rates(file)
    shuffled = random.Random(seed).sample(kept, len(kept))
    return tuple(sorted(shuffled, key=lambda sample: -rates.get(sample.id, 0.0)))


def keep_informative(samples: Sequence[Sample], file: Path, *, max_pass_rate: float = 1.0) -> tuple[Sample, ...]:
    """The samples that were answered correctly sometimes but not always, and those that were never probed.

    Args:
        samples: the samples to filter.
        file: the `difficulty.jsonl` of a probe.
        max_pass_rate: samples with a higher share of correct completions are left out as too easy.

    Raises:
        DataError: the file is missing or damaged, contains none of the samples, or would leave none of them.
    """
    rates = read_pass_rates(file)
    if not any(sample.id in rates for sample in samples):
        raise DataError(
            "none of the training samples was probed", str(file), "probe these data: lowmed probe MODEL --on DATA"
        )
    informative = {name for name, rate in rates.items() if 0 < rate < 1 and rate <= max_pass_rate}
    kept = tuple(sample for sample in samples if sample.id not in rates or sample.id in informative)
    if not kept:
        raise DataError(
            "the difficulty file leaves no training question: each is always right, never right, or too easy",
            str(file),
            "train by SFT first, raise data.max_pass_rate, or use other data",
        )
    return kept


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
