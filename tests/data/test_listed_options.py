"""Options and instructions inside a question's text, in the forms of other people's data sets."""

import pytest

from lowmed.data.ingest.answer_instructions import cut_instruction
from lowmed.data.ingest.listed_options import listed_options, read_listed

THREE = ("CT", "MRI", "X-ray")
R1 = (
    "Your task: \n1. Think through the question step by step, enclose your reasoning process in <think>...</think> "
    "tags. \n2. Then provide the correct single-letter choice (A, B, C, D,...) inside <answer>...</answer> tags.\n"
    "3. No extra information or text outside of these tags."
)


@pytest.mark.parametrize(
    "listing",
    [
        "A) CT B) MRI C) X-ray", "a) CT b) MRI c) X-ray", "1) CT 2) MRI 3) X-ray", "(A) CT (B) MRI (C) X-ray",
        "[A] CT [B] MRI [C] X-ray", "A-CT B-MRI C-X-ray", "A - CT B - MRI C - X-ray", "A、CT B、MRI C、X-ray",
        "A. CT\nB. MRI\nC. X-ray", "A.CT B.MRI C.X-ray", "A: CT, B: MRI, C: X-ray", "A．CT；B．MRI；C．X-ray",
        "（A）CT（B）MRI（C）X-ray", "(1) CT (2) MRI (3) X-ray", "1. CT\n2. MRI\n3. X-ray", "① CT ② MRI ③ X-ray",
        "a. CT; b. MRI; c. X-ray", "Options: A) CT B) MRI C) X-ray", "Choices:\n(A) CT\n(B) MRI\n(C) X-ray.",
        "Choose the correct answer from the following options: A) CT B) MRI C) X-ray", "A = CT B = MRI C = X-ray",
    ],
)  # fmt: skip
@pytest.mark.parametrize("question", ["Which modality is this?", "以下哪种检查？"])
def test_options_are_separated_from_their_question(question: str, listing: str) -> None:
    bare, listed, instruction = read_listed(f"{question} {listing}", lambda listed: listed.options == THREE)
    assert listed
    assert (bare, listed.options, listed.text_after, instruction) == (question, THREE, "", "")


@pytest.mark.parametrize(
    "instruction",
    [
        "Output the thinking process in <think> </think> and final answer (letter) in <answer> </answer> tags.",
        "Answer with the option's letter from the given choices directly.",
        "Please select the correct answer from the options above.",
        "Respond only with the letter.",
        "Please answer with a single letter. Do not explain your choice.",
        "Think step by step and put the final letter in \\boxed{}.",
        "Your answer must be one of the options. Only the letter counts.",
        "There is only one correct answer.",
        R1,
        "请选择正确的选项。",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [" ", "\n", ". ", "\n\n"])
def test_an_instruction_after_the_options_is_cut_off(instruction: str, before: str) -> None:
    text = f"Which modality is this? A) CT, B) MRI, C) X-ray{before}{instruction}"
    bare, listed, cut = read_listed(text, lambda listed: listed.options == THREE)
    assert listed
    assert (bare, listed.options, cut) == ("Which modality is this?", THREE, instruction)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("What is seen? Answer the question using a single word or phrase.", "What is seen?"),
        ("What is seen?\n" + R1, "What is seen?"),
        ("Describe it. Think step by step and put the final answer in \\boxed{}.", "Describe it."),
        ("What is seen?\nAnswer:", "What is seen?"),
    ],
)
def test_an_instruction_after_an_open_question_is_cut_off(text: str, question: str) -> None:
    bare, listed, _ = read_listed(text, lambda listed: False)
    assert (bare, listed) == (question, None)


@pytest.mark.parametrize(
    "question",
    [
        "Is vitamin A. good?", "B. first A. second", "Hepatitis A: is it?", "A. B. C.", "",
        "How many? 1.5 T or 3. 2 T?",
        "Image A: CT before treatment. Image B: CT after treatment. Has the lesion become smaller?",
        "Figure 1: an axial slice. Figure 2: a coronal slice. Is there a mass?",
        "Panel (a) shows CT. Panel (b) shows MRI.",
    ],
)  # fmt: skip
def test_text_that_resembles_options_is_no_list(question: str) -> None:
    assert listed_options(question) == []


@pytest.mark.parametrize(
    "question",
    [
        "Size? Answer in mm.", "Is there a mass? Answer yes or no.", "Give the box of the mass as [x1, y1, x2, y2].",
        "What should you do first?", "Which drug? Give the dose in mg.", "Choose the larger lesion. How large is it?",
        "Please describe the image.", "Answer with a letter. Clinical history: a man of 60 with cough.",
    ],
)  # fmt: skip
def test_a_question_that_sounds_like_an_instruction_stays(question: str) -> None:
    assert cut_instruction(question, with_options=False) == (question, "")


@pytest.mark.parametrize(
    ("text", "question", "options"),
    [
        ("Is it type A. or B. Which? A. CT B. MRI", "Is it type A. or B. Which?", ("CT", "MRI")),
        ("Which? A. Vitamin A. B. Vitamin B. C. Zinc.", "Which?", ("Vitamin A", "Vitamin B", "Zinc")),
        ("Next? A. Rest B. Give the option of a drug", "Next?", ("Rest", "Give the option of a drug")),
        ("Which grade, 1 or 2? (1) mild (2) severe", "Which grade, 1 or 2?", ("mild", "severe")),
        ("Which? A) CT of\nthe chest\nB) MRI", "Which?", ("CT of the chest", "MRI")),
        ("A) CT B) MRI", "", ("CT", "MRI")),
        ("What is the field? (A) 1.5 T (B) 3 T", "What is the field?", ("1.5 T", "3 T")),
        ("How many? A. 1 B. 2 C. 3", "How many?", ("1", "2", "3")),
    ],
)  # fmt: skip
def test_hard_lists_are_read(text: str, question: str, options: tuple[str, ...]) -> None:
    assert [(listed.question, listed.options) for listed in listed_options(text)] == [(question, options)]


def test_text_after_the_last_option_is_reported() -> None:
    [listed] = listed_options("Which? A) CT B) MRI C) ultrasound. Take your time and look at the upper left.")
    assert (listed.options[-1], listed.text_after) == ("ultrasound", "Take your time and look at the upper left.")
    [listed] = listed_options("Which is true? A. T2 is bright. It is fluid. B. T1 is bright. It is fat.")
    assert listed.text_after == ""
