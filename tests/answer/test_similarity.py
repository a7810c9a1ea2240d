"""ROUGE-L and Google BLEU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.answer.similarity import google_bleu, rouge_l

TEXTS = st.lists(st.sampled_from(["the", "lung", "is", "clear", "no", "effusion", "left", "right"]), max_size=25).map(
    " ".join
)


@pytest.mark.parametrize(
    ("text", "reference", "rouge", "bleu"),
    [  # values of rouge-score 0.1.2 (rougeL, no stemmer) and of nltk 3.10.4 (sentence_gleu) on its words
        (
            "The heart is normal in size. The lungs are clear.",
            "Heart size is normal. Lungs are clear, no effusion.",
            0.631578947368421,
            0.3235294117647059,
        ),
        ("No pneumothorax.", "There is no pneumothorax or pleural effusion.", 0.4444444444444445, 0.13636363636363635),
        ("A X-ray of 2 views", "Two-view X-ray, 2 views.", 0.6666666666666666, 0.3333333333333333),
    ],
)
def test_values_are_those_of_the_usual_packages(text: str, reference: str, rouge: float, bleu: float) -> None:
    assert rouge_l(text, reference) == pytest.approx(rouge)
    assert google_bleu(text, reference) == pytest.approx(bleu)


def _table(words: list[str], others: list[str]) -> int:
    """The longest common subsequence by the table of every textbook."""
    row = [0] * (len(others) + 1)
    for word in words:
        above = list(row)
        for index, other in enumerate(others):
            row[index + 1] = above[index] + 1 if word == other else max(row[index], above[index + 1])
    return row[-1]


@given(TEXTS, TEXTS)
def test_rouge_l_has_the_longest_common_subsequence(text: str, reference: str) -> None:
    words, others = text.split(), reference.split()
    expected = 2 * _table(words, others) / (len(words) + len(others)) if words and others else 0.0
    assert rouge_l(text, reference) == pytest.approx(expected)
    assert rouge_l(text, reference) == rouge_l(reference, text)


@given(TEXTS.filter(bool), TEXTS.filter(bool))
def test_adding_words_that_the_reference_lacks_never_pays(text: str, reference: str) -> None:
    longer = f"{text} one two three four five six seven"
    assert rouge_l(longer, reference) <= rouge_l(text, reference)
    assert google_bleu(f"{reference} one two", reference) < google_bleu(reference, reference) == 1.0


def test_an_empty_text_has_no_similarity_and_chinese_is_compared_by_characters() -> None:
    assert rouge_l("", "the lung") == google_bleu("", "the lung") == rouge_l("the lung", "") == 0.0
    assert rouge_l("左肺", "右肺") == 0.5
    assert google_bleu("NORMAL heart!", "normal, heart") == 1.0
