"""Extracting the answer text, and every kind of completion without one."""

import pytest

from lowmed.answer import extract

FOUND = [
    # completion, text, source, strict
    ("<think>x</think><answer>B</answer>", "B", "tag", True),
    ("x</think><answer>B</answer>", "B", "tag", True),
    ("<answer> yes </answer>", "yes", "tag", True),
    ("<THINK>x</Think>\n<Answer>\nleft lung\n</ANSWER>\n", "left lung", "tag", True),
    ("<thinking>x</thinking><answer>B</answer>", "B", "tag", True),
    ("<think>\\boxed{A} <answer>A</answer></think><answer>B</answer>", "B", "tag", True),
    ("<think>a</think><answer>A</answer><think>b</think><answer>B</answer>", "B", "tag", True),
    ("<|im_start|><answer>B</answer><|im_end|>", "B", "tag", True),
    ("<answer>\u200bB\ufeff</answer>", "B", "tag", True),
    ("<answer>B</answer> as \\boxed{A}", "B", "tag", True),
    ("<answer>B</answer></answer>", "B", "tag", False),
    ("<think>x</think><answer>B", "B", "tag", False),
    ("<answer>B</answer> or <answer>b.</answer>", "B", "tag_dup", False),
    ("so \\boxed{\\frac{1}{2}}", "\\frac{1}{2}", "boxed", True),
    ("\\boxed{A} then \\boxed{B}", "B", "boxed", False),
    ("\\boxed{B} then \\boxed{A", "B", "boxed", False),
    ('{"answer": "B"}', "B", "json", False),
    ('```json\n{"final_answer": 3}\n```', "3", "json", False),
    ('{"answer": ["lung", "heart"], "why": "x"}', "lung, heart", "json", False),
    ('{"answer": true}', "yes", "json", False),
    ("The answer is A. No, the final answer is: left lung", "left lung", "phrase", False),
    ("**Answer:** B\nbecause of the opacity", "B", "phrase", False),
    ("The correct answer is:\n\nB. polyp\n\nPolyps are common.", "B. polyp", "phrase", False),
    ("答案：是", "是", "phrase", False),
    ("left lung", "left lung", "whole", False),
    ("</answer> left", "left", "whole", False),
]


@pytest.mark.parametrize(("completion", "text", "source", "strict"), FOUND)
def test_the_answer_is_extracted(completion: str, text: str, source: str, strict: bool) -> None:
    result = extract(completion)
    assert (result.text, result.source, result.strict) == (text, source, strict)


@pytest.mark.parametrize(
    ("completion", "flag"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("<|im_end|>", "empty"),
        ("<answer></answer>", "empty"),
        ("<think>x</think><answer> \n </answer>", "empty"),
        ("<answer></answer><answer></answer>", "empty"),
        ("<think>x</think>\\boxed{ }", "empty"),
        ("<think>x</think>", "empty"),
        ("<answer>B</answer><think>afterthought</think>", "empty"),
        ("<think>the answer is B", "unclosed_think"),
        ("<think>a</think><think>b<answer>B</answer>", "unclosed_think"),
        ("<answer>A</answer><answer>B</answer>", "ambiguous_tags"),
        ("<answer>B <answer>A</answer>", "ambiguous_tags"),
        ("<answer></answer><answer>B</answer>", "ambiguous_tags"),
        ("If the stain were brown, the answer would be: B", "conditional"),
    ],
)
def test_a_completion_without_an_answer_has_a_problem(completion: str, flag: str) -> None:
    result = extract(completion)
    assert (result.text, result.problem) == (None, flag)


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("The answer is B", None),
        ("<answer>B</answer>", None),  # the reasoning has no closing tag
        ("<think>x</think><answer>left lu", None),
        ("<think>x</think>The answer is left lu", None),
        ("<think>x</think>left lu", None),
        ("<think>x</think><answer>B</answer> and furthermo", "B"),
        ("<think>x</think>\\boxed{B} and furthermo", "B"),
        ("<think>x</think>The answer is B\nbecause of the opa", "B"),
    ],
)
def test_a_truncated_completion_counts_only_with_a_complete_answer(completion: str, text: str | None) -> None:
    assert extract(completion, "length").text == text


def test_a_forced_choice_is_not_a_hypothetical_answer() -> None:
    assert extract("If I had to choose, the answer would be B").text == "B"
