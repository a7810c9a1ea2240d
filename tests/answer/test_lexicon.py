"""The lexicons: well-formed entries, and that a further language takes its own file and one line."""

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import regex

from lowmed.answer import normalize
from lowmed.answer.lexicon import ALL, LEXICONS, Lexicon, merge, one_of

PACKAGE = Path(__file__).parents[2] / "lowmed"
DUTCH = """
from lowmed.answer.lexicon.lexicon import Lexicon

DUTCH = Lexicon(
    language="nl",
    yes=("ja", "waar"),
    no=("nee", "onwaar"),
    opening_yes=("ja",),
    opening_no=("nee",),
    opening_end=r"\\s*[.,;:!?]",
    or_words=("of",),
    denials=("geen", "zonder"),
    refusals=(r"^ik weet het niet",),
    answer_phrases=(r"antwoord(?: is)? ?:?",),
    verdicts=(r"antwoord is @",),
    left=("linker", "links"),
    right=("rechter", "rechts"),
    number_words={"twee": 2},
)
"""
CHECKS = """
from lowmed.answer import Question, contradictions, grade, normalize, read
from lowmed.answer.equality import same_answer

def values(question, *texts):
    return [read(text, question).value for text in texts]


mass = Question("closed", ("ja",))
assert values(mass, "Ja, een massa.", "Nee.", "waar", "Ik weet het niet") == ["yes", "no", "yes", None]
assert values(mass, "Yes.", "No, it is normal", "是的", "没有") == ["yes", "no", "yes", "no"]
organ = Question("closed", ("lever",), question="Is dit de long, het hart of lever?")
assert grade(read("Het antwoord is: lever", organ), organ).outcome == "correct"
finding = Question("choice", ("massa",), ("massa", "fractuur"))
assert values(finding, "een massa zonder fractuur", "Het antwoord is B") == ["massa", "fractuur"]
for opposite in ("rechter long", "right lung"):
    assert contradictions(opposite, "linker long") == ("laterality",)
assert same_answer("twee", "2")
"""


def test_a_new_language_takes_one_file_and_one_line(tmp_path: Path) -> None:
    copy = tmp_path / "lowmed"
    for name in ("__init__.py", "boxes.py", "control_tokens.py", "sample.py", "errors.py"):
        copy.mkdir(exist_ok=True)
        shutil.copy(PACKAGE / name, copy / name)
    shutil.copytree(PACKAGE / "answer", copy / "answer")
    lexicons = copy / "answer" / "lexicon"
    (lexicons / "nl.py").write_text(DUTCH, encoding="utf-8")
    line = "LEXICONS = (ENGLISH, "
    text = (lexicons / "__init__.py").read_text(encoding="utf-8")
    assert line in text
    added = f"from lowmed.answer.lexicon.nl import DUTCH\n{line}DUTCH, "
    (lexicons / "__init__.py").write_text(text.replace(line, added), encoding="utf-8")
    subprocess.run([sys.executable, "-c", CHECKS], check=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})


@pytest.mark.parametrize("lexicon", [*LEXICONS, ALL], ids=lambda lexicon: lexicon.language)
def test_entries_are_patterns_without_capturing_groups(lexicon: Lexicon) -> None:
    for item in fields(Lexicon):
        entries = getattr(lexicon, item.name)
        if isinstance(entries, tuple) and all(isinstance(entry, str) for entry in entries):
            assert regex.compile(one_of(entries)).groups == 0, item.name


@pytest.mark.parametrize("lexicon", LEXICONS, ids=lambda lexicon: lexicon.language)
def test_words_for_yes_and_no_are_disjoint_and_include_the_opening_words(lexicon: Lexicon) -> None:
    assert set(lexicon.yes).isdisjoint(lexicon.no)
    assert set(lexicon.opening_yes) | set(lexicon.yes_in_text) <= set(lexicon.yes)
    assert set(lexicon.opening_no) | set(lexicon.no_in_text) <= set(lexicon.no)


@pytest.mark.parametrize("lexicon", LEXICONS, ids=lambda lexicon: lexicon.language)
def test_words_that_are_compared_with_normalized_text_are_in_normal_form(lexicon: Lexicon) -> None:
    words = [*lexicon.yes, *lexicon.no, *lexicon.left, *lexicon.right, *lexicon.both_sides, *lexicon.number_words]
    for group in (*lexicon.opposites, *lexicon.modalities.values()):
        words += group
    assert [normalize(word) for word in words] == words


@pytest.mark.parametrize("lexicon", LEXICONS, ids=lambda lexicon: lexicon.language)
def test_each_word_for_left_has_its_counterpart_for_right(lexicon: Lexicon) -> None:
    assert len(lexicon.left) == len(lexicon.right)
    assert set(lexicon.left).isdisjoint(lexicon.right)


def test_merging_keeps_the_entries_of_every_language_in_order() -> None:
    first = Lexicon(language="a", yes=("x",), number_words={"i": 1}, modalities={"MRI": ("mr",), "CT": ("ct",)})
    second = Lexicon(language="b", yes=("y",), number_words={"j": 1}, modalities={"MRI": ("irm",), "PET": ("tep",)})
    merged = merge([first, second])
    assert (merged.yes, merged.no, merged.number_words) == (("x", "y"), (), {"i": 1, "j": 1})
    assert merged.modalities == {"MRI": ("mr", "irm"), "CT": ("ct",), "PET": ("tep",)}


def test_an_empty_field_matches_nothing() -> None:
    assert re.search(one_of(()), "any text") is None
