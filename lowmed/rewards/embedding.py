"""Similarity of texts by a sentence-embedding model, on the scale that its calibration measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lowmed.errors import RecipeError, SetupError
from lowmed.files import load_json

Vector = npt.NDArray[np.float32]
MAX_CACHED = 65536

_vectors: dict[tuple[str, str], Vector] = {}


@dataclass(frozen=True)
class CosineScale:
    """The scale of one model's cosines, measured on pairs of different gold answers.

    `unrelated` is the median cosine of the pairs, and `threshold` their 99 % quantile.
    """

    model: str
    unrelated: float
    threshold: float

    def rescale(self, cosine: float) -> float:
        """Map a cosine to [0, 1]: 0 up to `unrelated`, 1 for the same text, linear in between."""
        return max(0.0, min(1.0, (cosine - self.unrelated) / (1 - self.unrelated)))


@lru_cache(maxsize=16)
def load_scale(path: str, model: str) -> CosineScale:
    """Load the scale of a model from the file that `lowmed rewards calibrate` wrote.

    Raises:
        RecipeError: model or file are not set; the file is missing, invalid or of another model; or its model does not
            separate different answers.
    """
    fix = "lowmed rewards calibrate --recipe RECIPE --model MODEL --out FILE, then name both in the reward"
    if not model or not path:
        raise RecipeError("an embedding reward needs `model` and `calibration`", "method.rewards", fix)
    try:
        document = load_json(Path(path))
        scale = CosineScale(str(document["model"]), float(document["unrelated"]), float(document["threshold"]))
        is_usable = bool(document["usable"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"the calibration cannot be read: {type(error).__name__}: {error}", path, fix) from error
    if scale.model != Path(model).name:
        raise RecipeError(f"the calibration is of {scale.model}, the reward uses {Path(model).name}", path, fix)
    if not is_usable or not scale.unrelated < scale.threshold < 1:
        what = "according to its calibration, the embedding model does not separate different answers"
        raise RecipeError(what, path, "use another embedding model")
    return scale


def cosine(model: str, text: str, other: str) -> float:
    """Cosine of the embeddings of two texts, in [-1, 1]; exactly 1 for equal texts."""
    if text == other:
        return 1.0
    embed(model, (text, other))
    return float(_vectors[model, text] @ _vectors[model, other])


def embed(model: str, texts: Iterable[str]) -> None:
    """Embed the texts that are not in the cache, in one batch.

    Raises:
        SetupError: the package is not installed or the model cannot be loaded.
    """
    distinct = list(dict.fromkeys(texts))
    if len(_vectors) + len(distinct) > MAX_CACHED:
        _vectors.clear()
    new = [text for text in distinct if (model, text) not in _vectors]
    if new:
        vectors = _encoder(model).encode(new, normalize_embeddings=True, show_progress_bar=False)
        _vectors.update({(model, text): vector for text, vector in zip(new, vectors, strict=True)})


def sentence_f1(model: str, scale: CosineScale, predicted: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of two lists of sentences: each sentence scores the rescaled cosine of the closest one in the other list.

    Every predicted sentence without a counterpart lowers precision, so rambling does not pay. After BERTScore (Zhang et
    al. 1904.09675), with sentences in place of tokens.
    """
    embed(model, (*predicted, *reference))
    similarity = np.array([[scale.rescale(cosine(model, one, other)) for other in reference] for one in predicted])
    precision, recall = float(similarity.max(axis=1).mean()), float(similarity.max(axis=0).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@lru_cache(maxsize=2)
def _encoder(model: str) -> Any:
    """The model, loaded on the CPU because training needs the memory of the GPU."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise SetupError(
            "sentence-transformers is not installed", "method.rewards", "pip install 'lowmed[semantic]'"
        ) from error
    try:
        return SentenceTransformer(model, device="cpu")
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SetupError(
            f"the embedding model cannot be loaded: {reason}", model, "use the folder of a sentence-transformers model"
        ) from error
