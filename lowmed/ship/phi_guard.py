"""Search a folder for what must not be published with a model: images, and names, dates or numbers of patients.

The search matches patterns. It guards against mistakes and does not prove that a folder is free of patient data.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from safetensors import safe_open

from lowmed.adapter.tensor_file import file_tensors
from lowmed.data.audit.phi_patterns import phi_in_text
from lowmed.data.image import dicom, files
from lowmed.recipe.io import dump_recipe, load_recipe, shipped_recipes

WEIGHTS = (".safetensors", ".gguf")
# Vocabularies and templates of the base: public texts that contain many names.
VOCABULARY = frozenset({"tokenizer.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"})
# Numbers that lowmed and the hub's formats write. They are removed from a line before it is searched.
_OWN_NUMBERS = re.compile(
    r"\b[0-9a-f]{12,64}\b"  # digests
    r"|\b\d+\.\d{3,}(?:e-?\d+)?\b|\b\d+e-?\d+\b"  # measurements
    r"|\"(?:ram_bytes|disk_bytes|min_pixels|max_pixels|total_size|longest_edge|shortest_edge|total_parameters)\": \d+"
    r"|https?://\S+"
)


@dataclass(frozen=True, slots=True)
class PhiFinding:
    """A file to review, the line (0 for the file as a whole), and the kind of problem; never the text."""

    file: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.kind}"


def find_phi(folder: Path, known: dict[str, bytes]) -> list[PhiFinding]:
    """Everything to review before a folder is published.

    Args:
        folder: the folder.
        known: file name -> content of files that lowmed ships, which hold no patient data.
    """
    findings: list[PhiFinding] = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            findings.append(PhiFinding(name, 0, "a symbolic link"))
        elif path.is_file():
            kind = phi_in_text(_OWN_NUMBERS.sub(" ", name))
            findings += [PhiFinding(name, 0, f"{kind}, in the file's name")] if kind else []
            if known.get(path.name) != path.read_bytes()[: 1 << 20]:
                findings += _search_content(path, name)
    return findings


def _search_content(path: Path, name: str) -> Iterator[PhiFinding]:
    if path.suffix in WEIGHTS:
        yield from _search_metadata(path, name)
    elif _is_image(path):
        yield PhiFinding(name, 0, "an image")
    elif path.name not in VOCABULARY:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            yield PhiFinding(name, 0, "a file of an unknown type")
            return
        public = _shipped_lines() if path.name == "recipe.yaml" else frozenset()
        for number, line in enumerate(lines, 1):
            if line.strip() in public:
                continue
            kind = phi_in_text(_OWN_NUMBERS.sub(" ", line))
            if kind:
                yield PhiFinding(name, number, kind)


@cache
def _shipped_lines() -> frozenset[str]:
    """The lines of the recipes that come with lowmed: their provenance names methods and data sets."""
    texts = (dump_recipe(load_recipe(name)) for name in shipped_recipes())
    return frozenset(line.strip() for text in texts for line in text.splitlines())


def _search_metadata(path: Path, name: str) -> Iterator[PhiFinding]:
    """Search the metadata of a safetensors file."""
    if path.suffix != ".safetensors":
        return
    file_tensors(path)
    with safe_open(path, "pt") as stream:
        for key, text in (stream.metadata() or {}).items():
            kind = phi_in_text(f"{key} {text}")
            if kind:
                yield PhiFinding(name, 0, f"{kind}, in the metadata of the weights")


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in files.SUFFIXES | dicom.SUFFIXES:
        return True
    with path.open("rb") as stream:
        if dicom.is_dicom(stream.read(132)):
            return True
    try:
        with Image.open(path, formats=files.FORMATS):
            return True
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
