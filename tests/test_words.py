"""The lint of the vocabulary finds words in prose, in names and across lines, and nothing else."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "words.py"


@pytest.fixture(scope="module")
def words() -> ModuleType:
    spec = importlib.util.spec_from_file_location("words", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("file", "text", "line", "word"),
    [
        ("a.py", '"""Fine.\n\nWhat was told."""\n', 3, "told"),
        ("a.py", "value = 1\ntold_by = 2\n", 2, "told"),
        ("a.py", "found = search()\n", 1, "found"),
        ("a.md", "This is no\nnumber.\n", 1, "is no number"),
        ("a.md", "It can not be.\n", 1, "can not"),
        ("a.md", "A Reply.\n", 1, "Reply"),
    ],
)
def test_a_word_is_reported_with_its_line(words: ModuleType, file: str, text: str, line: int, word: str) -> None:
    assert [hit[1:3] for hit in words._hits(file, text)] == [(line, word)]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.py", 'raise FileNotFoundError("the file was not found")\n'),
        ("a.py", "# who judges\nname = 'found'\n"),
        ("a.md", "There is no number in it, and it is no longer used.\n"),
        ("a.md", "Reply as <answer>answer</answer>.\n"),
        ("a.md", "a retold story, an unsaid word\n"),
    ],
)
def test_other_texts_are_accepted(words: ModuleType, file: str, text: str) -> None:
    assert list(words._hits(file, text)) == []


def test_the_source_of_a_notebook_is_checked(words: ModuleType) -> None:
    [hit] = words._hits("a.ipynb", '{"cells": [{"source": ["# Title\\n", "The picture.\\n"]}], "asked": 1}')
    assert hit[1:3] == (2, "picture")
