"""Samples and images of the testbed. Every split and seed has its own stream of random words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lowmed.boxes import Box, boxes_text
from lowmed.errors import DataError
from lowmed.nano.canvas import Draws
from lowmed.recipe.dials import Dials
from lowmed.sample import Sample
from lowmed.testbed.paint import SIDE_PIXELS, paint
from lowmed.testbed.questions import TOPICS, Question
from lowmed.testbed.scene import CORNERS, SEEN, STYLES, UNSEEN, Scene, draw_scene

Split = Literal["train", "test", "unseen", "pretrain"]
SPLITS: tuple[Split, ...] = get_args(Split)
NAME = "testbed"
BOX_QUESTION, BOX_LABEL = "Where are the findings?", "finding"
LIMIT = 2**32
_STREAM = 16  # keeps these streams apart from those of phantom
_ATTEMPTS = 1000
_REFERENCE = re.compile(
    r"testbed/(?P<split>train|test|unseen|pretrain)/(?P<seed>0|[1-9]\d{0,9})/(?P<index>0|[1-9]\d{0,9})"
    r"(?:/(?P<dials>[a-z_]+=[a-z_=,.\d]+))?(?P<before>/before)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Item:
    """One question with all that is known about it."""

    topic: str
    scene: Scene
    question: Question
    options: tuple[str, ...]
    written: str
    sentences: int
    marker_agrees: bool
    style_agrees: bool


def samples(split: Split, count: int, seed: int = 0, dials: Dials | None = None) -> list[Sample]:
    """The first `count` samples of a split. A larger count only adds samples at the end.

    Args:
        split: `unseen` has the two modalities that the others leave out; `pretrain` is for base models.
        count: number of samples.
        seed: another seed gives other samples.
        dials: how training samples differ from test samples. They have no effect on `test` and `unseen`.

    Raises:
        DataError: the split does not exist, or the seed or the count is out of range.
    """
    text = str(dials) if dials and split in ("train", "pretrain") else ""
    end = f"/{text}" if text else ""
    return [sample_of(f"{NAME}/{split}/{seed}/{index}{end}") for index in range(count)]


def sample_of(reference: str) -> Sample:
    """The sample whose image has this reference.

    Raises:
        DataError: the reference is not one of the testbed.
    """
    item, _, _ = _item(reference)
    topic = TOPICS[item.topic]
    before = (f"{reference}/before",) if item.question.before else ()
    sample = Sample(
        id=reference,
        question=item.question.text,
        answer=item.written,
        kind=topic.kind,
        group=reference,
        source=NAME,
        images=(*before, reference),
        options=item.options,
        explanation=" ".join(item.question.reasoning[: item.sentences]),
        modality=item.scene.modality,
        topic=item.topic,
        strata=(
            ("steps", str(topic.steps)),
            ("marker", "agrees" if item.marker_agrees else "misleads"),
            ("style", "agrees" if item.style_agrees else "misleads"),
        ),
    )
    if topic.kind == "number":
        value = int(item.written)
        sample = replace(sample, unit="mm", lower=str(value - 1), upper=str(value + 1))
    return sample


def open_image(reference: str) -> Image.Image:
    """The 112 x 112 RGB image of a reference, with the same pixels on every machine.

    Raises:
        DataError: the reference is not one of the testbed, or the sample has no earlier image.
    """
    return Image.fromarray(_painted(reference)[0])


def box_samples(split: Split, count: int, seed: int = 0) -> list[Sample]:
    """The same images, each with the question for the boxes of its findings. A changed finding has its present box.

    Raises:
        DataError: as `samples`.
    """
    return [_box_sample(f"{NAME}/{split}/{seed}/{index}") for index in range(count)]


def _box_sample(reference: str) -> Sample:
    item = item_of(reference)
    boxes = [Box(edges, BOX_LABEL) for edges in _painted(reference)[1]]
    return Sample(
        id=reference,
        question=BOX_QUESTION,
        answer=boxes_text(boxes),
        kind="boxes",
        group=reference,
        source=f"{NAME}-boxes",
        images=(reference,),
        modality=item.scene.modality,
        topic="location",
        image_size=(SIDE_PIXELS, SIDE_PIXELS),
    )


def _painted(reference: str) -> tuple[NDArray[np.uint8], list[tuple[int, int, int, int]]]:
    item, draws, before = _item(reference)
    if before and item.question.before is None:
        raise _unknown(reference)
    return paint(item.question.before if before and item.question.before else item.scene, draws)


def item_of(reference: str) -> Item:
    """What is known about the sample of a reference.

    Raises:
        DataError: the reference is not one of the testbed.
    """
    return _item(reference)[0]


def _item(reference: str) -> tuple[Item, Draws, bool]:
    match = _REFERENCE.fullmatch(reference)
    if match is None or max(int(match["seed"]), int(match["index"])) >= LIMIT:
        raise _unknown(reference)
    try:
        dials = _dials_of(match["dials"] or "")
    except ValueError as error:
        raise _unknown(reference) from error
    split, before = match["split"], bool(match["before"])
    stream = (_STREAM + SPLITS.index(split)) << 32 | int(match["seed"])
    draws = Draws(stream, int(match["index"]))
    # The painting of both images of a question has its own words, so that the scene alone is cheap to draw.
    item = _draw(draws, UNSEEN if split == "unseen" else SEEN, dials)
    return item, Draws(stream + (32 + 16 * before << 32), int(match["index"])), before


@lru_cache(maxsize=16)
def _dials_of(text: str) -> Dials:
    """The dials of a text such as `marker=0.9,prior=0.5`; a ValueError if `Dials` would write it in another way."""
    dials = Dials.model_validate(dict(part.split("=", 1) for part in text.split(",")) if text else {}, strict=False)
    if str(dials) != text:  # every image has one reference
        raise ValueError(text)
    return dials


def _draw(draws: Draws, modalities: tuple[str, ...], dials: Dials) -> Item:
    names = tuple(name for name in TOPICS if name != "modality" or modalities == SEEN)
    name = draws.one(names)
    topic = TOPICS[name]
    is_habit = _happens(draws, dials.prior)
    answer = draws.one(topic.answers)
    answer = topic.answers[0] if is_habit else answer
    scene, question = _matching(draws, name, modalities, answer)
    index = topic.answers.index(answer)
    marker = CORNERS[index % len(CORNERS)] if _happens(draws, dials.marker) else draws.one(CORNERS)
    style = STYLES[index % len(STYLES)] if _happens(draws, dials.style) else draws.one(STYLES)
    scene = replace(scene, marker=marker, style=style)
    if question.before:
        question = replace(question, before=replace(question.before, marker=marker, style=style))
    wrong = draws.one(tuple(other for other in topic.answers if other != answer))
    written = wrong if _happens(draws, dials.label_noise) else answer
    share = draws.integer(0, 999)
    if share < dials.unexplained * 1000:
        sentences = 0
    elif share < (dials.unexplained + dials.part_explained) * 1000:
        sentences = 1
    else:
        sentences = len(question.reasoning)
    options = draws.shuffled(topic.answers) if topic.kind == "choice" else ()
    return Item(
        name, scene, question, options, written, sentences,
        marker == CORNERS[index % len(CORNERS)], style == STYLES[index % len(STYLES)],
    )  # fmt: skip


def _matching(draws: Draws, name: str, modalities: Sequence[str], answer: str) -> tuple[Scene, Question]:
    """A scene and a question with this answer, so that answers have the wanted frequencies whatever the topic."""
    topic = TOPICS[name]
    for _ in range(_ATTEMPTS):
        modality = answer if name == "modality" else draws.one(tuple(modalities))
        scene = draw_scene(draws, modality, *topic.findings)
        question = topic.ask(draws, scene)
        if question.answer == answer:
            return scene, question
    raise AssertionError(f"no scene of {name} with the answer {answer}")


def _happens(draws: Draws, share: float) -> bool:
    return draws.integer(0, 999) < round(share * 1000)


def _unknown(reference: str) -> DataError:
    return DataError(
        f"{reference!r} is not an image of the testbed",
        "the sample's image reference",
        f"write testbed/SPLIT/SEED/INDEX: SPLIT is one of {', '.join(SPLITS)}, the others are integers below 2^32",
    )
