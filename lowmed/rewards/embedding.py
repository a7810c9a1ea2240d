"""How near two texts are for a sentence-embedding model, on the scale that its calibration gives."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lowmed.errors import RecipeError, SetupError

Vector = npt.NDArray[np.float32]
MOST_KEPT = 65536

_kept: dict[tuple[str, str], Vector] = {}


@dataclass(frozen=True)
class Calibration:
    """What cosines mean under one model: `unrelated` is that of half of all pairs of different gold answers.

    `threshold` is not reached by 99 in 100 of those pairs.
    """

    model: str
    unrelated: float
    threshold: float

    def scaled(self, cosine: float) -> float:
        """0 for as near as unrelated texts are, 1 for the same text; linear between, in [0, 1]."""
        return max(0.0, min(1.0, (cosine - self.unrelated) / (1 - self.unrelated)))


@lru_cache(maxsize=16)
def calibration(path: str, model: str) -> Calibration:
    """The calibration of a model, from the file of `lowmed rewards calibrate`.

    Raises:
        RecipeError: model or file are not given, the file is missing or of another model, or its model cannot tell
            different answers apart.
    """
    fix = "lowmed rewards calibrate --recipe RECIPE --model MODEL --out FILE, then name both in the reward"
    if not model or not path:
        raise RecipeError("an embedding reward needs `model` and `calibration`", "method.rewards", fix)
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
        read = Calibration(str(result["model"]), float(result["unrelated"]), float(result["threshold"]))
        usable = bool(result["usable"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"the calibration can not be read: {type(error).__name__}: {error}", path, fix) from error
    if read.model != Path(model).name:
        raise RecipeError(f"the calibration is of {read.model}, the reward uses {Path(model).name}", path, fix)
    if not usable or not read.unrelated < read.threshold < 1:
        raise RecipeError("by its calibration the model can not tell different answers apart", path, "use another one")
    return read


def cosine(model: str, one: str, other: str) -> float:
    """Cosine of the embeddings of two texts, in [-1, 1]; exactly 1 for the same text."""
    if one == other:
        return 1.0
    embed(model, (one, other))
    return float(_kept[model, one] @ _kept[model, other])


def embed(model: str, texts: Iterable[str]) -> None:
    """Embed all texts that are not yet known, in one batch.

    Raises:
        SetupError: the package or the model is missing.
    """
    wanted = list(dict.fromkeys(texts))
    if len(_kept) + len(wanted) > MOST_KEPT:
        _kept.clear()
    new = [text for text in wanted if (model, text) not in _kept]
    if new:
        vectors = _encoder(model).encode(new, normalize_embeddings=True, show_progress_bar=False)
        _kept.update({(model, text): vector for text, vector in zip(new, vectors, strict=True)})


def agreement(model: str, scale: Calibration, said: Sequence[str], wanted: Sequence[str]) -> float:
    """F1 of two lists of sentences: each is as good as the nearest one of the other list, on the calibrated scale.

    Precision falls with every sentence that the other list does not hold, so rambling does not pay. After BERTScore
    (Zhang et al. 1904.09675), with sentences in the place of tokens.
    """
    embed(model, (*said, *wanted))
    near = np.array([[scale.scaled(cosine(model, one, other)) for other in wanted] for one in said])
    precision, recall = float(near.max(axis=1).mean()), float(near.max(axis=0).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@lru_cache(maxsize=2)
def _encoder(model: str) -> Any:
    """The model on the CPU: the card's memory belongs to training."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise SetupError(
            "sentence-transformers is not installed", "method.rewards", "pip install 'lowmed[semantic]'"
        ) from error
    try:
        return SentenceTransformer(model, device="cpu")
    except (OSError, ValueError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SetupError(
            f"the embedding model can not be loaded: {first}", model, "give the folder of a sentence-transformers model"
        ) from error
