"""How often each question was answered rightly: questions that are always or never right teach GRPO nothing."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowmed.errors import DataError
from lowmed.evaluate.pass_at_k import by_question, counts
from lowmed.files import write_text
from lowmed.recipe import DataSpec
from lowmed.sample import Sample

FILE = "difficulty.jsonl"
Row = Mapping[str, Any]


def write(file: Path, sampled: Iterable[Row]) -> None:
    """One line a question: `id`, `replies` drawn, how many of them `right` (strict) and `unread`."""
    questions = by_question(sampled)
    lines = [
        {
            "id": completions[0]["id"],
            "replies": len(completions),
            "right": right,
            "unread": sum(row["strict_outcome"] == "unread" for row in completions),
        }
        for completions, right in zip(questions, counts(questions), strict=True)
    ]
    write_text(file, "".join(json.dumps(line) + "\n" for line in lines))


def chosen(samples: Sequence[Sample], spec: DataSpec, seed: int) -> tuple[Sample, ...]:
    """The samples that a recipe trains on by their pass counts, in its order; all of them where it names no file.

    `easy_to_hard` puts those first that were right most often, and never probed ones last; equals stand by seed.

    Raises:
        DataError: as `keep`.
    """
    if spec.difficulty is None:
        return tuple(samples)
    file = Path(spec.difficulty)
    kept = keep(samples, file, max_pass_rate=spec.max_pass_rate)
    if spec.order == "shuffled":
        return kept
    rates = _read(file)
    shuffled = random.Random(seed).sample(kept, len(kept))
    return tuple(sorted(shuffled, key=lambda sample: -rates.get(sample.id, 0.0)))


def keep(samples: Sequence[Sample], file: Path, *, max_pass_rate: float = 1.0) -> tuple[Sample, ...]:
    """The samples that were right at some times and wrong at others, and those that were never probed.

    Args:
        samples: to choose from.
        file: of the probe.
        max_pass_rate: samples that were right in a larger share of their completions are too easy, and left out.

    Raises:
        DataError: the file is missing or damaged, is about other samples, or would leave none.
    """
    rates = _read(file)
    if not any(sample.id in rates for sample in samples):
        raise DataError(
            "none of the samples was probed", str(file), "probe the training data: lowmed probe MODEL --on DATA"
        )
    fit = {name for name, rate in rates.items() if 0 < rate < 1 and rate <= max_pass_rate}
    kept = tuple(sample for sample in samples if sample.id not in rates or sample.id in fit)
    if not kept:
        raise DataError(
            "every question is always or never right, or too easy",
            str(file),
            "train by SFT first, raise data.max_pass_rate, or take other data",
        )
    return kept


def _read(file: Path) -> dict[str, float]:
    """The share of right completions of each probed question."""
    if not file.is_file():
        raise DataError("there is no such file", str(file), "lowmed probe MODEL --on DATA writes it")
    result = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            result[str(row["id"])] = int(row["right"]) / int(row["replies"])
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise DataError(f"the line is no pass count: {error}", f"{file}:{number}", "probe again") from error
    return result
