"""What must not leave with a model: images, and names, dates or numbers of patients in files and their names.

A guard against mistakes, not a proof: it knows patterns, not people.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from safetensors import safe_open

from lowmed.data.audit.phi_patterns import phi_in_text
from lowmed.data.image import dicom, files
from lowmed.ship import weights

WEIGHTS = (".safetensors", ".gguf")
# Vocabularies and templates of the base: public texts, full of names.
VOCABULARY = frozenset({"tokenizer.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"})
# Stamps that lowmed and the hub's formats write themselves, with what they hold taken out before a line is searched.
_OWN = re.compile(
    r"\b[0-9a-f]{12,64}\b"  # digests
    r"|\b\d+\.\d{3,}(?:e-?\d+)?\b|\b\d+e-?\d+\b"  # measured figures
    r"|\"(?:ram|disk|min_pixels|max_pixels|total_size|longest_edge|shortest_edge|total_parameters)\": \d+"
    r"|https?://\S+"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at: file, line (0 for the file itself), and what kind of thing; never what it says."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.what}"


def findings(folder: Path, known: dict[str, bytes]) -> list[Finding]:
    """All that must be looked at before a folder is shown to others.

    Args:
        folder: what would leave.
        known: content of files that lowmed ships and that hold nobody's data, by name.
    """
    result: list[Finding] = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            result.append(Finding(name, 0, "a link, which leads to another place"))
        elif path.is_file():
            told = phi_in_text(_OWN.sub(" ", name))
            result += [Finding(name, 0, f"{told}, in the file's name")] if told else []
            if known.get(path.name) != path.read_bytes()[: 1 << 20]:
                result += _content(path, name)
    return result


def _content(path: Path, name: str) -> Iterator[Finding]:
    if path.suffix in WEIGHTS:
        yield from _header(path, name)
    elif _is_picture(path):
        yield Finding(name, 0, "a picture")
    elif path.name not in VOCABULARY:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            yield Finding(name, 0, "neither text, nor weights, nor anything else that an export has")
            return
        for number, line in enumerate(lines, 1):
            told = phi_in_text(_OWN.sub(" ", line))
            if told:
                yield Finding(name, number, told)


def _header(path: Path, name: str) -> Iterator[Finding]:
    """What is written beside the tensors."""
    if path.suffix != ".safetensors":
        return
    weights.in_file(path)
    with safe_open(path, "pt") as opened:
        for key, text in (opened.metadata() or {}).items():
            told = phi_in_text(f"{key} {text}")
            if told:
                yield Finding(name, 0, f"{told}, beside the weights")


def _is_picture(path: Path) -> bool:
    if path.suffix.lower() in files.SUFFIXES | dicom.SUFFIXES:
        return True
    with path.open("rb") as opened:
        if dicom.is_dicom(opened.read(132)):
            return True
    try:
        with Image.open(path, formats=files.FORMATS):
            return True
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
