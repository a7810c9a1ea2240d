"""Phantom: small procedural CT-, MRI-, X-ray- and ultrasound-like images, and questions with known answers.

An image is a simplified drawing of its modality with 0 to 4 bright lesions, at most one in each quadrant. Each image
has one question, so the `group` of a sample is its image. Left and right are those of the viewer, not the patient.
The topics of the questions:

| topic    | kind   | answers (the most frequent one first)               |
| -------- | ------ | --------------------------------------------------- |
| presence | closed | yes, no                                             |
| side     | closed | left, right                                         |
| count    | open   | two, one, three, four                               |
| size     | choice | medium, small, large                                |
| location | open   | upper left, upper right, lower left, lower right    |
| modality | choice | CT, MRI, X-ray                                      |

Ultrasound occurs in the split "unseen" only. There the topic modality is left out, because it would have one answer.
`form_samples` and `box_samples` ask for a JSON object and for boxes of the same images.

The embedded model was trained on the split "pretrain". Every split has its own stream of random words.
"""

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image

from lowmed.boxes import Box, boxes_text
from lowmed.errors import DataError
from lowmed.nano import paint
from lowmed.nano.canvas import Draws, Grey
from lowmed.prompt.json_question import json_question
from lowmed.sample import Kind, Sample

Split = Literal["train", "test", "unseen", "pretrain"]
Quadrant = Literal["upper left", "upper right", "lower left", "lower right"]

SPLITS: tuple[Split, ...] = ("train", "test", "unseen", "pretrain")
UNSEEN_MODALITY = "ultrasound"
LIMIT = 2**32

# Probabilities in percent. The first of each is the most frequent answer, which a model may learn as a habit.
TOPICS = {"presence": 16, "side": 16, "count": 18, "size": 16, "location": 17, "modality": 17}
PRESENCE = {"yes": 52, "no": 48}
SIDE = {"left": 52, "right": 48}
COUNT = {"two": 34, "one": 22, "three": 22, "four": 22}
SIZE = {"medium": 38, "small": 31, "large": 31}
QUADRANT: dict[Quadrant, int] = {"upper left": 28, "upper right": 24, "lower left": 24, "lower right": 24}
MODALITY = {"CT": 38, "MRI": 31, "X-ray": 31}
HABITS = {
    "presence": "yes", "side": "left", "count": "two", "size": "medium", "location": "upper left", "modality": "CT",
}  # fmt: skip
RADII = {"small": (3, 4), "medium": (6, 7), "large": (10, 11)}
NUMBERS = ("zero", "one", "two", "three", "four")

KINDS: dict[str, Kind] = {
    "presence": "closed", "side": "closed", "count": "open", "size": "choice", "location": "open", "modality": "choice",
}  # fmt: skip
QUESTIONS = {
    "presence": ("Is there a lesion in the image?", "Does this image show a lesion?", "Is a lesion visible?"),
    "side": ("Is the lesion on the left or the right side?", "On which side is the lesion, left or right?"),
    "count": ("How many lesions are there?", "What is the number of lesions?", "Count the lesions in the image."),
    "size": ("How big is the lesion?", "What is the size of the lesion?"),
    "location": ("Where is the lesion?", "Which part of the image contains the lesion?"),
    "modality": ("What is the imaging modality?", "Which modality was used to take this image?"),
}
BOX_QUESTIONS = ("Where is a lesion?", "Where are the lesions in the image?", "Which part of the image shows a lesion?")
FORM = {
    "modality": "the imaging modality",
    "count": "the number of lesions, as a word",
    "size": "the size of the largest lesion, or none",
    "where": "the parts of the image with a lesion, as a list",
}  # key -> its description in the question
APPEARANCE = {
    "CT": "A bright ring of bone surrounds grey soft tissue with a bright spine",
    "MRI": "Textured tissue with dark ventricles lies inside a thin bright rim",
    "X-ray": "Two dark lungs crossed by pale ribs flank a bright centre",
}
_REFERENCE = re.compile(r"phantom/(train|test|unseen|pretrain)/(0|[1-9]\d{0,9})/(0|[1-9]\d{0,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scene:
    """The content of an image, and the question about it. `lesions` are (quadrant, size name) in reading order."""

    topic: str
    modality: str
    lesions: tuple[tuple[Quadrant, str], ...]
    question: str
    options: tuple[str, ...]


def samples(split: Split, count: int, seed: int = 0) -> list[Sample]:
    """The first `count` samples of a split. A larger count only adds samples at the end.

    Raises:
        DataError: the split does not exist, or the seed or the count is out of range.
    """
    return [_sample(f"phantom/{split}/{seed}/{index}") for index in range(count)]


def open_image(reference: str) -> Image.Image:
    """The 84 x 84 RGB image of an image reference, with the same pixels on every machine.

    Raises:
        DataError: the reference is not a phantom image.
    """
    draws, split = _open(reference)
    grey, _ = _paint(draws, _scene(draws, split))
    return Image.fromarray(np.repeat(paint.expose(grey, draws)[:, :, None], 3, axis=2))


def scene_of(reference: str) -> Scene:
    """The content of the image of a reference.

    Raises:
        DataError: the reference is not a phantom image.
    """
    return _scene(*_open(reference))


def box_samples(split: Split, count: int, seed: int = 0) -> list[Sample]:
    """The same images, each with the question for the boxes of its lesions.

    Raises:
        DataError: as `samples`.
    """
    return [_box_sample(f"phantom/{split}/{seed}/{index}", index) for index in range(count)]


def form_samples(split: Split, count: int, seed: int = 0) -> list[Sample]:
    """The same images, each with the request to describe it by a JSON object with the keys of FORM.

    Raises:
        DataError: as `samples`.
    """
    return [_form_sample(f"phantom/{split}/{seed}/{index}") for index in range(count)]


def _paint(draws: Draws, scene: Scene) -> tuple[Grey, list[tuple[int, int, int, int]]]:
    """The image before its exposure, and the box of each lesion."""
    grey = paint.ANATOMY[scene.modality](draws)
    return grey, [paint.lesion(grey, draws, quadrant, RADII[size]) for quadrant, size in scene.lesions]


def _open(reference: str) -> tuple[Draws, str]:
    parts = _REFERENCE.fullmatch(reference)
    if parts is None or max(int(parts[2]), int(parts[3])) >= LIMIT:
        raise DataError(
            f"{reference!r} is not a phantom image",
            "the sample's image reference",
            f"write phantom/SPLIT/SEED/INDEX: SPLIT is one of {', '.join(SPLITS)}, the others are integers below 2^32",
        )
    split: Split = parts[1]  # type: ignore[assignment]
    return Draws(SPLITS.index(split) << 32 | int(parts[2]), int(parts[3])), split


def _scene(draws: Draws, split: str) -> Scene:
    is_seen = split != "unseen"
    topic = draws.pick(TOPICS if is_seen else {name: chance for name, chance in TOPICS.items() if name != "modality"})
    modality = draws.pick(MODALITY) if is_seen else UNSEEN_MODALITY
    if topic == "presence":
        number = 1 if draws.pick(PRESENCE) == "yes" else 0
    elif topic == "modality":
        number = draws.integer(0, 1)
    else:
        number = NUMBERS.index(draws.pick(COUNT)) if topic == "count" else 1
    if topic == "side":
        side = draws.pick(SIDE)
        quadrants = draws.shuffled(tuple(quadrant for quadrant in QUADRANT if quadrant.endswith(side)))[:1]
    elif number == 1:
        quadrants = (draws.pick(QUADRANT),)
    else:
        quadrants = draws.shuffled(tuple(QUADRANT))[:number]
    lesions = tuple((quadrant, draws.pick(SIZE)) for quadrant in QUADRANT if quadrant in quadrants)
    questions = QUESTIONS[topic]
    options = {"size": tuple(SIZE), "modality": tuple(MODALITY)}.get(topic, ())
    return Scene(topic, modality, lesions, questions[draws.integer(0, len(questions) - 1)], draws.shuffled(options))


@lru_cache(maxsize=4096)  # the stages of a bridge and the jobs of a study load the same samples
def _sample(reference: str) -> Sample:
    scene = _scene(*_open(reference))
    answer = _answer(scene)
    return Sample(
        id=reference,
        question=scene.question,
        answer=answer,
        kind=KINDS[scene.topic],
        group=reference,
        source="phantom",
        images=(reference,),
        options=scene.options,
        explanation=_explanation(scene, answer),
        modality=scene.modality,
        topic=scene.topic,
    )


def _box_sample(reference: str, index: int) -> Sample:
    draws, split = _open(reference)
    scene = _scene(draws, split)
    _, boxes = _paint(draws, scene)
    return Sample(
        id=reference,
        question=BOX_QUESTIONS[index % len(BOX_QUESTIONS)],
        answer=boxes_text([Box((left, top, right, bottom), "lesion") for left, top, right, bottom in boxes]),
        kind="boxes",
        group=reference,
        source="phantom-boxes",
        images=(reference,),
        modality=scene.modality,
        topic="location",
        image_size=(paint.SIDE_PIXELS, paint.SIDE_PIXELS),
    )


def _form_sample(reference: str) -> Sample:
    scene = _scene(*_open(reference))
    sizes = [size for _, size in scene.lesions]
    answer = {
        "modality": scene.modality,
        "count": NUMBERS[len(sizes)],
        "size": max(sizes, key=lambda size: RADII[size], default="none"),
        "where": [quadrant for quadrant, _ in scene.lesions],
    }
    # The sentence about one lesion names its size, the one about several does not.
    topic, word = ("size", sizes[0]) if len(sizes) == 1 else ("count", NUMBERS[len(sizes)])
    return Sample(
        id=reference,
        question=json_question(FORM),
        answer=json.dumps(answer, separators=(",", ":")),  # nano has few tokens for punctuation
        kind="json",
        group=reference,
        source="phantom-forms",
        images=(reference,),
        explanation=_explanation(replace(scene, topic=topic), word),
        modality=scene.modality,
    )


def _answer(scene: Scene) -> str:
    if scene.topic == "presence":
        return "yes" if scene.lesions else "no"
    if scene.topic == "count":
        return NUMBERS[len(scene.lesions)]
    if scene.topic == "modality":
        return scene.modality
    quadrant, size = scene.lesions[0]
    return {"side": quadrant.split()[1], "size": size, "location": quadrant}[scene.topic]


def _explanation(scene: Scene, answer: str) -> str:
    """One sentence of 8 to 20 words: a description, then the answer, which ends it."""
    if scene.topic == "modality":
        return f"{APPEARANCE[scene.modality]}, so the modality is {answer}."
    end = f"so the {'answer' if scene.topic == 'presence' else scene.topic} is {answer}."
    if not scene.lesions:
        return f"The {scene.modality} image shows normal tissue and no lesion, {end}"
    quadrants = [quadrant for quadrant, _ in scene.lesions]
    if scene.topic == "count":
        listed = " and ".join(filter(None, (", ".join(quadrants[:-1]), quadrants[-1])))
        return f"The {scene.modality} image has lesions at {listed}, {end}"
    return f"The {scene.modality} image shows one {scene.lesions[0][1]} lesion in the {quadrants[0]}, {end}"
