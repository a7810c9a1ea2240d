"""What cosines an embedding model gives to different gold answers, so that a reward knows which ones mean something."""

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowmed import answer
from lowmed.errors import DataError
from lowmed.rewards import embedding
from lowmed.sample import Sample

FEWEST_PAIRS = 20
LEAST_ACCEPTED = 0.5  # of golds in other words; a model below it pays nothing but the gold's own letters
UNRELATED_REACH = 0.99
MOST_ALIKE = 0.95  # a model whose median cosine of different golds lies above it has no room to tell them apart
_OTHER_WORDS = ("It is {gold}.", "The image shows {gold}.", "{gold} is seen")


def calibrate_embedding(samples: Sequence[Sample], model: str, seed: int = 0) -> dict[str, Any]:
    """Measure a model on the open gold answers of some data; what `embedding.calibration` reads.

    Each gold answer is paired with another one, to the same question where there is one, because those are the
    mistakes that a policy makes. `unrelated` is the median cosine of these pairs and `threshold` their 99 % quantile;
    `accepted` is the share of golds in other words that reach it. A model that accepts too few,
    or to which all golds are nearly the same, is not `usable`.

    Raises:
        DataError: there are too few different open answers.
        SetupError: the model cannot be loaded.
    """
    golds = [(answer.normalize(one.question), answer.normalize(one.answer)) for one in samples if one.kind == "open"]
    pairs, same = _pairs(golds, random.Random(seed))
    if len(pairs) < FEWEST_PAIRS:
        raise DataError(
            f"{len(pairs)} pairs of different open answers; a calibration needs {FEWEST_PAIRS}",
            "the training questions",
            "use data with more open questions",
        )
    said = [(gold, form.replace("{gold}", gold)) for _, gold in golds for form in _OTHER_WORDS]
    embedding.embed(model, [text for pair in (*pairs, *said) for text in pair])
    apart = np.array([embedding.cosine(model, *pair) for pair in pairs])
    together = np.array([embedding.cosine(model, *pair) for pair in said])
    unrelated, threshold = float(np.median(apart)), float(np.quantile(apart, UNRELATED_REACH))
    accepted = float((together >= threshold).mean())
    return {
        "model": Path(model).name,
        "pairs": len(pairs),
        "pairs_of_one_question": same,
        "unrelated": round(unrelated, 6),
        "threshold": round(threshold, 6),
        "accepted": round(accepted, 4),
        "usable": accepted >= LEAST_ACCEPTED and unrelated < min(threshold, MOST_ALIKE) and threshold < 1,
    }


def _pairs(golds: Sequence[tuple[str, str]], draw: random.Random) -> tuple[list[tuple[str, str]], int]:
    """Each gold answer with another one, and how many of these answer the same question."""
    of_question: dict[str, set[str]] = defaultdict(set)
    for question, gold in golds:
        of_question[question].add(gold)
    known = sorted({gold for _, gold in golds})
    pairs, same = [], 0
    for question, gold in golds:
        siblings = sorted(of_question[question] - {gold})
        others = siblings or [other for other in known if other != gold]
        if others:
            pairs.append((gold, draw.choice(others)))
            same += bool(siblings)
    return pairs, same
