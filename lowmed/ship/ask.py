"""One question of a user: open the images, generate a completion, read the answer, and count sampled answers."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from lowmed import answer, prompt
from lowmed.boxes import parse_boxes
from lowmed.data.box_grid import box_grid
from lowmed.data.image.draw_boxes import draw_boxes
from lowmed.data.image.files import decode
from lowmed.data.image.other_files import HEAD_BYTES
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.data.image.read import Selection, is_volume, read_images
from lowmed.errors import DataError
from lowmed.evaluation.answerer import Answerer, Completion, OpenImage
from lowmed.recipe import ModelSpec
from lowmed.sample import Sample
from lowmed.ship.records import AskResult, SampledAnswers, Vote

MAX_QUESTION_CHARACTERS = 4000
MAX_PATH_CHARACTERS = 255
TEMPERATURE = 1.0  # of sampled completions, as in `lowmed eval --samples`
USAGE = 'lowmed ask RUN IMAGE "question"'
_THINK_TAG = re.compile(r"</?\s*think(?:ing)?\s*>", re.IGNORECASE)
_NO_GOLD = "not known"  # a Sample requires a gold answer; neither the prompt nor the reading of answers depends on it


def question_sample(
    question: str, images: Sequence[str], family: prompt.Family, model: ModelSpec, open_image: OpenImage
) -> Sample:
    """A user's question as a sample; one for boxes in the first image, if the prompts are for boxes alone.

    Args:
        question: the question.
        images: the paths of the images.
        family: the prompt family.
        model: the model, which decides the unit of boxes.
        open_image: opens an image by its path.

    Raises:
        DataError: the question is empty, an image, too long, or holds a control token.
    """
    text = question.strip()
    if not text:
        raise DataError("the question is empty", "the last argument", f"put it last: {USAGE}")
    if len(text) <= MAX_PATH_CHARACTERS and Path(text).is_file():
        raise DataError("the last argument is an image", text, f"put the question last: {USAGE}")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise DataError(
            f"the question has {len(text):,} characters, more than {MAX_QUESTION_CHARACTERS:,}",
            f"{text[:40]}...",
            "shorten it",
        )
    try:
        sample = Sample("question", text, _NO_GOLD, "open", "question", "question", tuple(images))
    except ValueError as error:
        raise DataError(str(error), text[:60], "remove it") from error
    if family.kinds != ("boxes",) or not images:
        return sample
    size = open_image(images[0]).size
    return replace(sample, kind="boxes", answer="none", image_size=size, box_grid=box_grid(model, size))


def open_images(paths: Sequence[str], policy: PixelPolicy) -> Callable[[str], Image.Image]:
    """Decode every image once and check it against the pixel policy; returns a function from path to image.

    Of a DICOM file with several frames, and of a NIfTI volume, the middle one is used.

    Raises:
        DataError: a file is missing, is not an image, or has an unusable size.
    """
    images = {path: _open_image(path) for path in paths}
    for path, image in images.items():
        prepare(image, policy, path)
    return images.__getitem__


def ask_model(
    answerer: Answerer,
    model: str,
    sample: Sample,
    family: prompt.Family,
    open_image: Callable[[str], Image.Image],
    samples: int,
) -> AskResult:
    """The greedy completion with its answer, and the votes of sampled completions.

    Args:
        answerer: the loaded model.
        model: its name in the result.
        sample: the question.
        family: prompt family of the answerer.
        open_image: as `open_images` returns it.
        samples: number of completions to sample; 0 for none.
    """
    [completion] = answerer([sample], open_image, copies=1, temperature=0.0)
    reading = _read(completion, sample)
    thought = _THINK_TAG.split(completion.completion)
    return AskResult(
        model=model,
        question=sample.question,
        images=tuple(f"image {number}" for number in range(1, len(sample.images) + 1)),
        prompt=family.name,
        prompt_digest=family.digest,
        completion=completion.completion,
        reasoning=thought[1].strip() if len(thought) > 1 else "",
        answer=reading.value,
        strict=reading.strict,
        flags=tuple(reading.flags),
        tokens=completion.tokens,
        finish_reason=completion.finish_reason,
        samples=_sample_answers(answerer, sample, open_image, samples) if samples else None,
    )


def with_boxes(result: AskResult, sample: Sample, open_image: OpenImage) -> Image.Image:
    """The first image of the question with the boxes of the answer."""
    boxes = parse_boxes(result.answer or "")[0] or ()
    return draw_boxes(open_image(sample.images[0]), sample.image_size, predicted=boxes)


def _sample_answers(
    answerer: Answerer, sample: Sample, open_image: Callable[[str], Image.Image], samples: int
) -> SampledAnswers:
    completions = list(answerer([sample], open_image, copies=samples, temperature=TEMPERATURE))
    counts = Counter(_read(completion, sample).value for completion in completions)
    unread = counts.pop(None, 0)
    votes = tuple(Vote(str(text), count, count / len(completions)) for text, count in counts.most_common())
    return SampledAnswers(len(completions), TEMPERATURE, unread, votes)


def _read(completion: Completion, sample: Sample) -> answer.Answer:
    question = answer.question_of(sample) if sample.kind == "boxes" else answer.Question("open", ())
    return answer.read(completion.completion, question, completion.finish_reason)


def _open_image(path: str) -> Image.Image:
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError("the image does not exist", path, f"name image files, then the question: {USAGE}")
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        content = file.read_bytes() if is_volume(head, path) else b""
    except OSError as error:
        raise DataError(f"the image cannot be read: {error.strerror}", path, "check its permissions") from error
    if content:
        return read_images(content, path, Selection("middle"), b"").images[0]
    return decode(file, path)
