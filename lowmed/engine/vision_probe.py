"""Probe the vision tower of a model: encode the images of questions that recur, then classify them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lowmed import __version__
from lowmed.data.image.policy import prepare
from lowmed.engine import device, load
from lowmed.engine.vision.features import pooled_features
from lowmed.errors import DataError
from lowmed.evaluation.records import VisionProbe
from lowmed.evaluation.vision_probe import MIN_IMAGES, labeled_questions, measure
from lowmed.progress import Progress
from lowmed.recipe import ModelSpec
from lowmed.sample import Sample

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

SIDE = 32  # pixels of the small gray images


def probe_vision(
    spec: ModelSpec,
    samples: Sequence[Sample],
    source: str,
    open_image: Callable[[str], Image.Image],
    progress: Progress,
) -> VisionProbe:
    """Classify the images of each question that recurs, by the features of the tower and by pixels.

    Args:
        spec: the base model; its adapter is on the language model only.
        samples: training questions.
        source: name of the data.
        open_image: opens the samples' image references.
        progress: shows progress.

    Raises:
        DataError: no question recurs with two answers.
        LowmedError: a problem with the machine, the model or an image.
    """
    questions = labeled_questions(samples)
    if not questions:
        raise DataError(
            f"no question recurs with two answers that {MIN_IMAGES} images have",
            source,
            "read more questions with --questions, or probe data with one question for many images",
        )
    loaded = load.load_base(spec, device.find_device(spec))
    references = list(dict.fromkeys(sample.images[0] for question in questions for sample in question.samples))
    features: dict[str, NDArray[float32]] = {}
    pixels: dict[str, NDArray[float32]] = {}
    with progress("encode", len(references)) as advance:
        for reference in references:
            image = open_image(reference)
            [features[reference]] = pooled_features(loaded, [image])
            small = prepare(image, loaded.policy).convert("L").resize((SIDE, SIDE))
            pixels[reference] = np.asarray(small, dtype=np.float32).ravel()
            advance(1, "")
    targets = []
    with progress("classify", len(questions)) as advance:
        for question in questions:
            images = [sample.images[0] for sample in question.samples]
            by_image = (np.stack([values[image] for image in images]) for values in (features, pixels))
            targets.append(measure(question, *by_image))
            advance(1, "")
    return VisionProbe(
        lowmed=__version__,
        model=spec.name,
        source=source,
        max_image_tokens=spec.max_image_tokens,
        questions=len(samples),
        left_out=len(samples) - sum(len(question.samples) for question in questions),
        targets=tuple(targets),
    )
