"""The pages of `lowmed data`: one self-contained HTML file each, readable in a minute, without any script."""

import base64
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import ImageDraw

from lowmed.data.image.files import open_in
from lowmed.errors import DataError
from lowmed.sample import KINDS, LETTERS

THUMBNAIL_PX = 180
SHOWN_PAIRS = 24
SHOWN_PICTURES = 12


def audit_page(document: dict[str, Any], folder: Path) -> str:
    """The page of an audit; its images come from the data set's folder and are shown small."""
    near = [
        {**pair, "left": thumbnail(folder, pair["a"]), "right": thumbnail(Path(pair["b_folder"] or folder), pair["b"])}
        for pair in document["near"]["shown"][:SHOWN_PAIRS]
    ]
    burned = [
        {**result, "picture": thumbnail(folder, result["image"], result["boxes"])}
        for result in document["privacy"]["text_shown"][:SHOWN_PICTURES]
    ]
    most = max((each["images"] for each in document["images"]["token_histogram"]), default=0) or 1
    kinds = [kind for kind in ("all", *KINDS) if any(kind in rules["prior"] for rules in document["floor"].values())]
    return _render("data_audit.html", result=document, near=near, burned=burned, most=most, floor_kinds=kinds)


def show_page(title: str, rows: Iterable[dict[str, Any]], folder: Path) -> str:
    """The contact sheet of some samples, with everything that the model is given."""
    cards = [{**row, "pictures": [thumbnail(folder, image) for image in row["images"]]} for row in rows]
    return _render("data_show.html", title=title, cards=cards, letters=LETTERS)


def thumbnail(folder: Path, reference: str, boxes: Iterable[Iterable[int]] = ()) -> str:
    """A small JPEG of an image as a data URL, with boxes drawn on it; "" where it does not open."""
    try:
        image = open_in(folder, reference).convert("RGB")
    except DataError:
        return ""  # the page then says so in its place
    drawing = ImageDraw.Draw(image)
    for box in boxes:
        drawing.rectangle(tuple(box), outline=(255, 60, 60))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    written = BytesIO()
    image.save(written, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"


def _render(template: str, **content: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("lowmed.report", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return pages.get_template(template).render(**content)
