"""HTML for the output of a notebook's cell: a page in a frame, and samples of a data set with their images."""

import random
from collections.abc import Sequence

from lowmed.boxes import parse_boxes
from lowmed.data.dataset import DataSet
from lowmed.data.image.draw_boxes import draw_boxes
from lowmed.errors import DataError
from lowmed.report.gallery import data_url
from lowmed.report.templates import render
from lowmed.sample import LETTERS, Sample

Drawn = tuple[str, Sample]  # the split of a sample, and the sample


def frame(page: str, height: int) -> str:
    """A complete page as a frame of the output; its content is part of the output, so that no file is served.

    The frame may run the page's own script, but has an origin of its own: the page cannot reach the notebook.

    Args:
        page: the HTML of the page.
        height: height of the frame in CSS pixels.
    """
    from markupsafe import escape

    style = f"width:100%;height:{height}px;border:1px solid #8888;background:#fff"
    return f'<div><iframe sandbox="allow-scripts" style="{style}" srcdoc="{escape(page)}"></iframe></div>'


def draw(data: DataSet, count: int, seed: int, split: str | None) -> list[Drawn]:
    """Random samples in a random order, each of another image as long as there are any.

    Args:
        data: the data set.
        count: number of samples.
        seed: selects the samples.
        split: only this split; None for all.

    Raises:
        DataError: there is no such split.
    """
    if split is not None and split not in data.splits:
        raise DataError(f"there is no split `{split}`", data.source, f"use one of {', '.join(data.splits)}")
    splits = [split] if split else list(data.splits)
    drawn = [(name, sample) for name in splits for sample in data.splits[name]]
    random.Random(seed).shuffle(drawn)
    first = {sample.images: at for at, (_, sample) in reversed(list(enumerate(drawn)))}
    order = sorted(range(len(drawn)), key=lambda at: first[drawn[at][1].images] != at)
    return [drawn[at] for at in order[:count]]


def sample_cards(data: DataSet, drawn: Sequence[Drawn]) -> str:
    """Samples as cards with images, question, options, gold answer and explanation, in the colors of the notebook."""
    cards = [(split, sample, _images(data, sample)) for split, sample in drawn]
    return render("sample_cards.html", cards=cards, letters=LETTERS)


def _images(data: DataSet, sample: Sample) -> list[str]:
    """The images of a sample as data URLs, "" for one that does not open; the first one shows gold boxes."""
    urls = []
    for number, reference in enumerate(sample.images):
        try:
            image = data.open_image(reference).convert("RGB")
        except DataError:
            urls.append("")
            continue
        boxes = parse_boxes(sample.answer)[0] if sample.kind == "boxes" and number == 0 else None
        urls.append(data_url(draw_boxes(image, sample.image_size, boxes) if boxes else image))
    return urls
