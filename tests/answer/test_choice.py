"""Reading choices: texts that name one option, and texts that must stay unread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.answer import Question, grade, read, read_text

CHEST = ("Pneumothorax", "Pleural effusion", "Cardiomegaly", "No finding")


def _read(text: str, options: tuple[str, ...] = CHEST) -> str | None:
    return read_text(text, Question("choice", (options[0],), options))[0]


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("Ｂ", "Pleural effusion"),
        ("Answer: b", "Pleural effusion"),
        ("(B)", "Pleural effusion"),
        ("B.", "Pleural effusion"),
        ("B)", "Pleural effusion"),
        ("B) effusion", "Pleural effusion"),
        ("[B].", "Pleural effusion"),
        ("\\text{B}", "Pleural effusion"),
        ("\\boxed{\\text{B}}", "Pleural effusion"),
        ("option C", "Cardiomegaly"),
        ("The correct option is B, not A.", "Pleural effusion"),
        ("The answer is **B**", "Pleural effusion"),
        ("The answer is B because the angle is blunt", "Pleural effusion"),
        ("I think the answer is: (B)", "Pleural effusion"),
        ("b) pleural effusion", "Pleural effusion"),
        ("B.pleural effusion", "Pleural effusion"),
        ("B. There is fluid", "Pleural effusion"),
        ("The film shows a pleural-effusion.", "Pleural effusion"),
        ("no pneumothorax, pleural effusion", "Pleural effusion"),
        ("effusion is absent; cardiomegaly is seen", "Cardiomegaly"),
        ("pneumothorax is excluded, but there is cardiomegaly", "Cardiomegaly"),
        ("cardiomegaly rather than pneumothorax", "Cardiomegaly"),
        (
            "A film.\n\nThe most likely diagnosis is:\n\nB. pleural effusion\n\nPneumothorax is rarer.",
            "Pleural effusion",
        ),
        ("Most likely cardiomegaly. The other options (pneumothorax, pleural effusion) do not fit.", "Cardiomegaly"),
        (
            "A. Pneumothorax\nB. Pleural effusion\nC. Cardiomegaly\nD. No finding\nI take\nC. Cardiomegaly",
            "Cardiomegaly",
        ),
        ("Option A is correct", "Pneumothorax"),
    ],
)
def test_a_single_choice_is_read(text: str, option: str) -> None:
    assert _read(text) == option


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "I cannot determine.",
        "I cannot tell whether it is pneumothorax",
        "It is impossible to determine from one film. Perhaps pneumothorax.",
        "A chest X-ray cannot show this.",
        "The correct answer is A chest radiograph",
        "A hernia",
        "I refuse",
        "vitamin C",
        "Hepatitis B.",
        "A chest X-ray",
        "There is no pneumothorax",
        "B-cell lymphoma",
        "the patient's CT",
        "E",
        "E. Fracture",
        "A or B",
        "A, B",
        "A) or B)",
        "A and B",
        "The answer is B or C",
        "Answer: B, C",
        "option A or option B",
        "B. Pneumothorax",
        "b. pneumothorax",
        "B. A",
        "A. Pneumothorax B. Pleural effusion C. Cardiomegaly D. No finding",
        "A. Pneumothorax, pleural effusion, cardiomegaly",
        "A: pneumothorax or pleural effusion",
        "Not pneumothorax",
        "without any pneumothorax",
        "Pneumothorax is ruled out",
        "non-pneumothorax",
        "Option B is incorrect",
        "not option B",
        "neither pneumothorax nor pleural effusion",
        "no pneumothorax, pleural effusion or mass",
        "pneumothorax and pleural effusion",
        "A. Pneumothorax\nB. Pleural effusion\nC. Cardiomegaly\nD. No finding",
        "Pneumothorax Pleural effusion Cardiomegaly No finding",
    ],
)
def test_a_text_without_a_single_choice_is_unread(text: str) -> None:
    assert _read(text) is None


def test_numbers_are_matched_as_complete_tokens() -> None:
    sizes = ("5 mm", "1.5 mm", "15 mm", "11.5 mm")
    assert [_read(text, sizes) for text in ("about 1.5 mm", "it is 15mm wide", "5 mm")] == ["1.5 mm", "15 mm", "5 mm"]
    assert _read("2.5 mm", sizes) is None


def test_the_longer_of_nested_options_wins() -> None:
    nested = ("effusion", "pleural effusion", "pericardial effusion")
    assert _read("it shows a pleural effusion", nested) == "pleural effusion"
    assert _read("a pleural effusion, so an effusion", nested) is None


def test_options_that_are_letters_or_start_with_one_are_read() -> None:
    blood = ("A", "B", "AB", "O")
    assert _read("C", blood) == "AB"
    assert _read("O", blood) == "O"
    assert _read("a film of group b", blood) is None
    germs = ("E. coli", "C. difficile", "S. aureus")
    assert _read("C. difficile", germs) == "C. difficile"


def test_option_texts_may_contain_their_letters() -> None:
    carried = ("A. CT", "B. MRI")
    assert [_read(text, carried) for text in ("B", "MRI", "B. MRI", "It is an MRI")] == ["B. MRI"] * 4


def test_an_option_with_a_denial_or_doubt_is_matched_by_its_text() -> None:
    doubtful = ("No, it's normal.", "It is difficult to determine.", "Yes, it shows an abnormality.")
    assert _read("No, it's normal", doubtful) == doubtful[0]
    assert _read("It is difficult to determine", doubtful) == doubtful[1]
    assert _read("The film shows: no finding.") == "No finding"


def test_options_of_equal_text_count_as_one_option() -> None:
    twice = Question("choice", ("CT",), ("CT", "CT", "MRI"))
    assert [grade(read(completion, twice), twice).outcome for completion in ("A", "B", "CT", "C")] == [
        *["correct"] * 3,
        "incorrect",
    ]


@given(
    st.permutations(CHEST), st.sampled_from(["{letter}", "({letter})", "{letter}. {text}", "{text}", "It shows {text}"])
)
def test_the_option_is_read_at_every_position(order: list[str], form: str) -> None:
    question = Question("choice", ("Pleural effusion",), tuple(order))
    for letter, text in zip("ABCD", order, strict=True):
        value = read(form.format(letter=letter, text=text), question).value
        assert value == text
