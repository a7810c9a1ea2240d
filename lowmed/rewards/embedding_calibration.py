"""Calibration of an embedding model: the cosines of different gold answers, and of gold answers in other words."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowmed import answer
from lowmed.errors import DataError
from lowmed.rewards import embedding
from lowmed.sample import Sample

MIN_PAIRS = 20
MIN_ACCEPTED = 0.5  # of the rephrased gold answers; below it the model pays little but exact matches
THRESHOLD_QUANTILE = 0.99
MAX_UNRELATED = 0.95  # a higher median cosine of different gold answers leaves no room to separate them
_REPHRASINGS = ("It is {gold}.", "The image shows {gold}.", "{gold} is seen")


@dataclass(frozen=True)
class EmbeddingCalibration:
    """The calibration of an embedding model on the gold answers of a data set.

    Attributes:
        model: name of the model's folder or hub repository.
        pairs: pairs of different gold answers.
        pairs_of_one_question: those of them that answer the same question.
        unrelated: median cosine of the pairs.
        threshold: 99 % quantile of the cosines of the pairs.
        accepted: share of rephrased gold answers whose cosine reaches the threshold, in [0, 1].
        usable: whether rewards may use the model.
        format: version of the JSON file.
    """

    model: str
    pairs: int
    pairs_of_one_question: int
    unrelated: float
    threshold: float
    accepted: float
    usable: bool
    format: int = 1

    def as_json(self) -> dict[str, Any]:
        """The content of the calibration file, which `embedding.load_scale` reads."""
        return asdict(self)


def calibrate_embedding(samples: Sequence[Sample], model: str, seed: int = 0) -> EmbeddingCalibration:
    """Calibrate an embedding model on the open gold answers of some samples.

    Each gold answer is paired with a different one, to the same question if there is one, because a policy makes
    mistakes of that kind. A model is not usable if too few rephrased gold answers reach the threshold, or if different
    gold answers have cosines close to 1.

    Raises:
        DataError: there are too few different open answers.
        SetupError: the model cannot be loaded.
    """
    golds = [
        (answer.normalize(sample.question), answer.normalize(sample.answer))
        for sample in samples
        if sample.kind == "open"
    ]
    pairs, pairs_of_one_question = _pairs(golds, random.Random(seed))
    if len(pairs) < MIN_PAIRS:
        raise DataError(
            f"{len(pairs)} pairs of different open answers; a calibration needs {MIN_PAIRS}",
            "the training questions",
            "use data with more open questions",
        )
    rephrased = [(gold, form.replace("{gold}", gold)) for _, gold in golds for form in _REPHRASINGS]
    embedding.embed(model, [text for pair in (*pairs, *rephrased) for text in pair])
    different = np.array([embedding.cosine(model, *pair) for pair in pairs])
    equivalent = np.array([embedding.cosine(model, *pair) for pair in rephrased])
    unrelated, threshold = float(np.median(different)), float(np.quantile(different, THRESHOLD_QUANTILE))
    accepted = float((equivalent >= threshold).mean())
    return EmbeddingCalibration(
        model=Path(model).name,
        pairs=len(pairs),
        pairs_of_one_question=pairs_of_one_question,
        unrelated=round(unrelated, 6),
        threshold=round(threshold, 6),
        accepted=round(accepted, 4),
        usable=accepted >= MIN_ACCEPTED and unrelated < min(threshold, MAX_UNRELATED) and threshold < 1,
    )


def _pairs(golds: Sequence[tuple[str, str]], draw: random.Random) -> tuple[list[tuple[str, str]], int]:
    """Pair each gold answer with a different one; also the number of pairs that answer the same question."""
    by_question: dict[str, set[str]] = defaultdict(set)
    for question, gold in golds:
        by_question[question].add(gold)
    distinct = sorted({gold for _, gold in golds})
    pairs, pairs_of_one_question = [], 0
    for question, gold in golds:
        same_question = sorted(by_question[question] - {gold})
        others = same_question or [other for other in distinct if other != gold]
        if others:
            pairs.append((gold, draw.choice(others)))
            pairs_of_one_question += bool(same_question)
    return pairs, pairs_of_one_question
