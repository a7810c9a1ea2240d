"""One question of a user's own: the images opened, the completion read, and how stable the answer is."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lowmed import answer, prompt
from lowmed.data.image import dicom
from lowmed.data.image.files import decode
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.errors import DataError
from lowmed.evaluate.answerer import Answerer, Completion
from lowmed.sample import Sample

LONGEST_QUESTION = 4000  # characters
LONGEST_PATH = 255
TEMPERATURE = 1.0  # of sampled completions, as in `lowmed eval --samples`
_CONTROL = re.compile(r"<\|[^<>|]*\|>")
_THINK = re.compile(r"</?\s*think(?:ing)?\s*>", re.IGNORECASE)
UNKNOWN = "not known"  # a sample has a gold answer; nothing that is shown or read here depends on it


def sample(question: str, images: Sequence[str]) -> Sample:
    """A user's question as a sample.

    Raises:
        DataError: it is empty, far too long, or holds control tokens of the model.
    """
    text = question.strip()
    if not text:
        raise DataError("the question is empty", "the last argument", 'end with it: lowmed ask RUN IMAGE "question"')
    if len(text) <= LONGEST_PATH and Path(text).is_file():
        raise DataError("the last argument is an image", text, 'end with the question: lowmed ask RUN IMAGE "question"')
    if len(text) > LONGEST_QUESTION:
        told = f"the question has {len(text):,} characters; no more than {LONGEST_QUESTION:,} are asked"
        raise DataError(told, f"{text[:40]}...", "shorten it")
    control = _CONTROL.search(text)
    if control:
        raise DataError(f"the question holds a control token of the model, {control[0]}", text[:60], "leave it out")
    return Sample("asked", text, UNKNOWN, "open", "asked", "asked", tuple(images))


def opened(images: Sequence[str], policy: PixelPolicy) -> Callable[[str], Image.Image]:
    """The images, each decoded once and tried against the pixel policy, as a function of their paths.

    A DICOM file of several frames is asked by its middle one.

    Raises:
        DataError: one is missing, is no image, or cannot be shown to the model.
    """
    pictures = {path: _picture(path) for path in images}
    for path, image in pictures.items():
        prepare(image, policy, path)
    return pictures.__getitem__


def ask(
    answerer: Answerer, asked: Sample, family: prompt.Family, open_image: Callable[[str], Image.Image], samples: int
) -> dict[str, Any]:
    """The greedy completion, read; and with `samples` the votes of so many sampled ones."""
    [completion] = answerer([asked], open_image, copies=1, temperature=0.0)
    result = {
        "question": asked.question,
        "images": [Path(image).name for image in asked.images],
        "prompt": {"name": family.name, "digest": family.digest},
        **_read(completion),
    }
    if samples:
        drawn = list(answerer([asked], open_image, copies=samples, temperature=TEMPERATURE))
        votes = Counter(_answer(each).value for each in drawn)
        unread = votes.pop(None, 0)
        result["samples"] = {
            "drawn": len(drawn),
            "temperature": TEMPERATURE,
            "unread": unread,
            "votes": [
                {"answer": text, "replies": count, "share": count / len(drawn)} for text, count in votes.most_common()
            ],
        }
    return result


def _read(completion: Completion) -> dict[str, Any]:
    read = _answer(completion)
    thought = _THINK.split(completion.completion)
    return {
        "reply": completion.completion,
        "reasoning": thought[1].strip() if len(thought) > 1 else "",
        "answer": read.value,
        "strict": read.strict,
        "flags": list(read.flags),
        "tokens": completion.tokens,
        "finish_reason": completion.finish_reason,
    }


def _answer(completion: Completion) -> answer.Answer:
    return answer.read(completion.completion, answer.Question("open", ()), completion.finish_reason)


def _picture(path: str) -> Image.Image:
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(
            "the image does not exist", path, 'give files, then the question: lowmed ask RUN IMAGE "question"'
        )
    try:
        with file.open("rb") as start:
            head = start.read(132)
        content = file.read_bytes() if dicom.is_dicom(head) or file.suffix.lower() in dicom.SUFFIXES else b""
    except OSError as error:
        raise DataError(f"the image can not be read: {error.strerror}", path, "check its permissions") from error
    if content:
        return dicom.read(content, path, frames="middle", window=None, salt=b"").images[0]
    return decode(file, path)
