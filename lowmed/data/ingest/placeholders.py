"""The image placeholders of data sets and models, converted to lowmed's `<image>` and counted against the images."""

import re
from collections.abc import Iterator, Sequence

from lowmed.sample import PLACEHOLDER

# The marks that a user turn has for one image: by models (Qwen-VL, Gemma, InternVL, Phi, Mistral), then by data sets
# (LLaVA, MMMU, InternLM-XComposer and others), with or without a number.
_MARK = re.compile(
    r"""<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>
    | <start_of_image>(?:<image_soft_token>)*(?:<end_of_image>)?
    | <fake_token_around_image>(?:<global-img>)?(?:<image>)+<fake_token_around_image>
    | <img>(?:<IMG_CONTEXT>)*</img>
    | (?:<\|image_pad\|>)+ | (?:<IMG_CONTEXT>)+ | (?:<image_soft_token>)+
    | <\|(?:image|img|placeholder)[ _-]?(?P<a>\d{1,3})?\|>
    | \[IMG\](?:\[IMG_BREAK\]|\[IMG\])*(?:\[IMG_END\])?
    | <\s*(?:image|img|picture|pic)s?(?:[ _-]*(?:here|token|placeholder))?[ _-]*\#?(?P<b>\d{1,3})?\s*/?>
    | \[(?:image|img|picture)[ _-]?\#?(?P<c>\d{1,3})\]""",
    re.IGNORECASE | re.VERBOSE,
)


def marks_images(text: str) -> bool:
    """Whether a text contains a placeholder of any form."""
    return _MARK.search(text) is not None


def place_images(texts: Sequence[str], images: int, options: str = "") -> tuple[str, ...]:
    """The user texts of a conversation with `<image>` where each image belongs.

    A number that does more than count the images in order, such as a second `<image 1>`, becomes the words `image 1`.

    Args:
        texts: the user texts, oldest first.
        images: number of images of the conversation.
        options: the options, which may name images by number.

    Raises:
        ValueError: the numbers of placeholders and images differ, or a number names no image.
    """
    numbers = [_number(mark) for text in texts for mark in _MARK.finditer(text)]
    named = [number for number in numbers if number is not None]
    plain = len(numbers) - len(named)
    by_options = [number for mark in _MARK.finditer(options) if (number := _number(mark)) is not None]
    if not numbers and not by_options:
        return tuple(texts)
    named += by_options
    first = 0 if 0 in named else 1
    every = list(range(first, first + images))
    if plain and plain != images:
        raise ValueError(_mismatch(plain, images))
    if not plain and sorted(set(named)) != every:
        raise ValueError(_mismatch(len(set(named)), images))
    if not set(named) <= set(every):
        raise ValueError(f"a placeholder names image {max(named)}, and the row has {_count(images, 'image')}")
    in_place = not plain and not by_options and named == every

    def replaced(mark: re.Match[str]) -> str:
        number = _number(mark)
        return PLACEHOLDER if number is None or in_place else f"image {number - first + 1}"

    return tuple(_MARK.sub(replaced, text) for text in texts)


def without_marks(text: str) -> str:
    """A text other than a user turn, such as an option, with words in place of numbered placeholders."""
    return _MARK.sub(lambda mark: mark[0] if (number := _number(mark)) is None else f"image {number}", text)


def images_first(texts: Sequence[str]) -> tuple[str, ...]:
    """The same texts without their `<image>`, if all of them begin the first text: images come first anyway."""
    first, *later = texts
    bare = re.sub(rf"\A(?:\s|{PLACEHOLDER})+", "", first)
    return tuple(texts) if any(PLACEHOLDER in text for text in (bare, *later)) else (bare, *later)


def expand(text: str, counts: Iterator[int]) -> str:
    """The text with several placeholders for a file that gives several images.

    Args:
        text: a text with `<image>` placeholders, one a file.
        counts: the images of each file; the placeholders of the text take theirs.
    """
    first, *others = text.split(PLACEHOLDER)
    return first + "".join(PLACEHOLDER * next(counts) + other for other in others)


def _number(mark: re.Match[str]) -> int | None:
    digits = mark["a"] or mark["b"] or mark["c"]
    return int(digits) if digits else None


def _mismatch(placeholders: int, images: int) -> str:
    return f"the question has {_count(placeholders, 'image placeholder')}, and the row {_count(images, 'image')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"
