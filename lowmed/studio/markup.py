"""Texts of data, models and errors as HTML in which nothing of them acts."""

import base64
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from lowmed.data.ingest.image_store import png
from lowmed.errors import LowmedError
from lowmed.terminal import visible

if TYPE_CHECKING:
    from PIL import Image

# gradio fills its templates by `${...}` and `{{...}}`: a text must not hold either.
_TEMPLATE = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;"})
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")


def escape(text: object) -> str:
    """A text as HTML that shows it. Control characters become visible."""
    return untemplated(str(Markup.escape(visible(str(text)))))


def untemplated(html: str) -> str:
    """HTML without the characters that gradio fills; a browser shows the same."""
    return html.translate(_TEMPLATE)


def block(text: str, *, title: str = "", scroll: bool = True) -> str:
    """Lines of a command in a frame; "" without any."""
    if not text.strip():
        return ""
    head = f"<h4>{escape(title)}</h4>" if title else ""
    shown = _OVERWRITTEN.sub("", text.replace("\r\n", "\n"))
    return f'{head}<pre class="lm-output{" lm-scroll" if scroll else ""}">{escape(shown.rstrip())}</pre>'


def error(raised: LowmedError) -> str:
    """What is wrong, where, and what fixes it."""
    rows = (("what", raised.what), ("where", raised.where), ("fix", raised.fix))
    lines = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f'<dl class="lm-box lm-error" role="alert">{lines}</dl>'


def note(text: str) -> str:
    """A line of the studio itself."""
    return f'<p class="lm-box lm-note" role="status">{escape(text)}</p>' if text else ""


def frame(page: str, title: str) -> str:
    """A page of lowmed in a frame: its own script alone, by the page's policy; no form, no access to this page."""
    content = untemplated(str(Markup.escape(page)))
    return f'<iframe class="lm-frame" sandbox="allow-scripts" title="{escape(title)}" srcdoc="{content}"></iframe>'


def images(shown: "Iterable[Image.Image]") -> str:
    """Images as wide as their column."""
    tags = [
        f'<img src="{url(image)}" alt="image {number} of the question">' for number, image in enumerate(shown, start=1)
    ]
    return f'<div class="lm-images">{"".join(tags)}</div><p>As the model sees them</p>' if tags else ""


def url(image: "Image.Image") -> str:
    """An image as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values, one a line; without those that are None or empty."""
    shown = [(name, value) for name, value in pairs if value not in (None, "")]
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in shown)
    return f'<dl class="lm-facts">{lines}</dl>' if lines else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]], marked: int | None = None) -> str:
    """A table that scrolls by its own width.

    Args:
        head: names of the columns.
        rows: their cells.
        marked: the row that is chosen.
    """
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr{' class=lm-chosen' if number == marked else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for number, row in enumerate(rows)
    )
    return f'<div class="lm-table"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
