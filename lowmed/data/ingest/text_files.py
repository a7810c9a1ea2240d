"""The lines of text files in UTF-8, in UTF-16 with its mark, or in an encoding that the user names."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from lowmed.errors import DataError, RecipeError

MAX_LINE_BYTES = 64 * 2**20
# UTF-32 comes first, because its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"),
)  # fmt: skip
_FIX = "save it as UTF-8 (in Excel: CSV UTF-8), or name its encoding, e.g. --encoding windows-1252 or gb18030"


def decoded_lines(file: Path, encoding: str | None = None) -> Iterator[tuple[int, str | None]]:
    """Number and text of each line, from 1; None for one line that is not UTF-8.

    Args:
        file: the file.
        encoding: its encoding, or None to recognize UTF-8 and UTF-16.

    Raises:
        DataError: the file is in another encoding, or a line is longer than 64 MiB.
        RecipeError: there is no such encoding.
    """
    codec = _encoding(file, encoding)
    if codec in ("utf-8", "utf-8-sig"):
        yield from _utf8_lines(file)
        return
    number = 0
    with file.open(encoding=codec, newline="\n") as content:
        while True:
            try:
                line = content.readline(MAX_LINE_BYTES + 1)
            except UnicodeError as error:
                raise DataError(f"the table is not in {codec} after line {number}", str(file), _FIX) from error
            if not line:
                return
            number += 1
            _check_length(line, file, number)
            yield number, line.removeprefix("\ufeff") if number == 1 else line


def read_text(file: Path, encoding: str | None = None) -> str:
    """The text of a file; arguments and errors as of `decoded_lines`."""
    codec = _encoding(file, encoding)
    try:
        return file.read_bytes().decode("utf-8-sig" if codec == "utf-8" else codec)
    except UnicodeError as error:
        raise DataError(f"the table is not in {codec.removesuffix('-sig')}", str(file), _FIX) from error


def _encoding(file: Path, encoding: str | None) -> str:
    with file.open("rb") as content:
        start = content.read(64)
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if marked:
        return marked
    if encoding:
        try:
            return codecs.lookup(encoding).name
        except LookupError as error:
            what = f"there is no encoding `{encoding}`"
            raise RecipeError(what, "--encoding", "use e.g. windows-1252, latin-1, gb18030 or utf-16-le") from error
    if len(start) > 3 and start[1:4:2] == b"\0\0":
        raise DataError("the table is UTF-16 without its mark", str(file), "name it: --encoding utf-16-le")
    return "utf-8"


def _utf8_lines(file: Path) -> Iterator[tuple[int, str | None]]:
    is_checked = False
    for number, line in enumerate(_lines(file), start=1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            if not is_checked:
                _require_mostly_utf8(file, number)
                is_checked = True
            yield number, None


def _require_mostly_utf8(file: Path, first: int) -> None:
    """Refuse a file whose lines with other than ASCII letters are mostly no UTF-8. A single such line may be damaged.

    Raises:
        DataError: the file is in another encoding.
    """
    right = wrong = 0
    for line in _lines(file):
        if not line.isascii():
            try:
                line.decode()
                right += 1
            except UnicodeDecodeError:
                wrong += 1
    if wrong > max(1, right):
        raise DataError(f"the table is not UTF-8: {wrong} lines, first line {first}", str(file), _FIX)


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        number = 0
        while line := content.readline(MAX_LINE_BYTES + 1):
            number += 1
            _check_length(line, file, number)
            yield line


def count_lines(file: Path) -> int:
    """The number of lines that are not blank, in any encoding."""
    return sum(1 for line in _lines(file) if line.strip(b"\0 \t\r\n"))


def _check_length(line: str | bytes, file: Path, number: int) -> None:
    if len(line) > MAX_LINE_BYTES:
        what = f"a line is longer than {MAX_LINE_BYTES // 2**20} MiB"
        raise DataError(what, f"{file}:{number}", "write one question a line; a quote may not be closed")
