"""What keeps text of data and recipes from acting in a page or in Markdown."""

import re

from markupsafe import Markup

_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")
_MARKS = re.compile(r"[\\`*\[\]|$]|~(?=~)|(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word is none
_AT_LINE_START = re.compile(r"^\s*([-+=#>]|\d+(?=[.)]))")


def markdown(text: object) -> Markup:
    """A text as one line of Markdown that shows it: no link, image, heading, list, table cell, formula or HTML."""
    line = _MARKS.sub(r"\\\g<0>", _CONTROLS.sub(" ", str(text)))
    line = _AT_LINE_START.sub(lambda start: f"&#{ord(start[1][0])};{start[1][1:]}", str(Markup.escape(line)))
    return Markup(line)  # noqa: S704  escaped above


def code(text: object) -> str:
    """A text between backticks, which it cannot end."""
    return _CONTROLS.sub(" ", str(text)).replace("`", "'")
