"""Text of data, models and other libraries on a terminal: no control character of it acts, in any locale."""

import codecs
import os
import re
import sys
from typing import Any, TextIO

# C0 without line feed and tab, DEL, C1, and the characters that reorder a line.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_ERRORS = "lowmed.escape"


def visible(text: str) -> str:
    r"""The text with control characters as `\x1b`, or as `\u009b` from DEL on, which JSON reads too."""
    return _CONTROLS.sub(lambda match: _escaped(ord(match[0])), text)


def set_up() -> None:
    """Make stdout escape control characters, and both streams what their encoding lacks."""
    codecs.register_error(_ERRORS, _escape_unencodable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)
    if not isinstance(sys.stdout, EscapingStream):
        sys.stdout = EscapingStream(sys.stdout)


def of_notebook() -> bool:
    """Whether a cell of a notebook started this process (`!lowmed ...`).

    Its terminal is a pseudo-terminal of IPython, and the notebook stores every rewrite of a line.
    Kernels set these variables for such processes: JPY_PARENT_PID by jupyter_client, the others by ipykernel.
    """
    kernel = os.environ.get("TERM") == "xterm-color" and os.environ.get("GIT_PAGER") == "cat"
    return kernel or bool(os.environ.get("JPY_PARENT_PID"))


def unescaped_stdout() -> TextIO:
    """The stream for the styles of a console, which escapes its texts itself."""
    return sys.stdout.stream if isinstance(sys.stdout, EscapingStream) else sys.stdout


class EscapingStream:
    """A text stream that escapes control characters. `print` writes to it."""

    def __init__(self, stream: TextIO) -> None:
        """Wrap a stream."""
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        return self.stream.write(visible(text))

    def writelines(self, lines: Any) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _escaped(code: int) -> str:
    if code < 0x20:
        return f"\\x{code:02x}"
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_escaped(ord(character)) for character in error.object[error.start : error.end]), error.end
