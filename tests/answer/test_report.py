"""Reading reports, and the statements of a report about findings."""

import pytest

from lowmed import answer
from lowmed.answer.report import count_statements, read_statements, report_of, require_words, without_masked_sentences
from lowmed.sample import Sample

CLEAR = "The lungs are clear. No pleural effusion or pneumothorax."


def sample(reference: str = CLEAR) -> Sample:
    return Sample("s", "Write a report.", reference, "report", "g", "t")


def counts(reference: str, text: str) -> tuple[float, float]:
    expected, stated = read_statements(reference), read_statements(text)
    assert expected and stated
    counted = count_statements(expected, stated)
    return counted.precision, counted.recall


def test_a_report_is_everything_that_was_written_whatever_phrase_is_in_it() -> None:
    text = "Findings: the answer is not simple. The heart is large.\nImpression: final diagnosis: none."
    assert report_of(text) == text
    assert report_of(f"<think>no</think><answer>{text}</answer>") == text
    assert answer.read(text, sample()).value == " ".join(text.split())


def test_a_report_that_a_doubt_ends_is_read() -> None:
    read = answer.read("<answer>A small effusion cannot be excluded.</answer>", sample())
    assert (read.value, read.strict) == ("A small effusion cannot be excluded.", True)


@pytest.mark.parametrize(
    "text", ["", "<answer></answer>", "<answer> ... </answer>", "<think>The heart is large.</think>"]
)
def test_no_report_is_unread(text: str) -> None:
    assert answer.read(text, sample()).value is None
    assert report_of(text) == ""


@pytest.mark.parametrize("text", ["", "  \n", "XXXX. XXXX XXXX", "___ ..."])
def test_a_reference_without_words_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="report"):
        require_words(text)


def test_sentences_with_marks_are_left_out_and_lines_stay() -> None:
    text = "Findings: 1.5 cm nodule. Seen by Dr. XXXX. Stable.\nImpression: ___ change."
    assert without_masked_sentences(text) == "Findings: 1.5 cm nodule. Seen by Dr. Stable."


def test_negation_counts() -> None:
    assert counts(CLEAR, CLEAR) == (1.0, 1.0)
    precision, recall = counts("There is no pneumothorax.", "There is a pneumothorax.")
    assert (precision, recall) == (0.0, 0.0)


def test_a_wrong_side_loses_the_statements_about_it_only() -> None:
    precision, recall = counts("There is a small left effusion.", "There is a small right effusion.")
    assert 0 < precision == recall < 0.5


def test_sizes_belong_to_their_lesion() -> None:
    right = "One small lesion is in the upper left. One large lesion is in the lower right."
    exchanged = "One large lesion is in the upper left. One small lesion is in the lower right."
    assert counts(right, exchanged)[0] < 1


def test_a_finding_that_is_present_and_absent_is_shared_only_if_the_reference_states_both() -> None:
    both = "There is a pneumothorax. There is no pneumothorax."
    assert counts("There is no pneumothorax.", both) == (0.0, 0.0)
    assert counts(both, both) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("There is cardiomegaly.", "The heart is enlarged."),
        ("The heart is not enlarged.", "No cardiomegaly."),
        ("Heart size is normal.", "The heart is normal."),
        ("No acute disease.", "No acute abnormality."),
        ("Lungs: clear. Pleura: no effusion.", "The lungs are clear. There is no effusion."),
    ],
)
def test_usual_wordings_of_one_statement_are_equal(first: str, second: str) -> None:
    assert counts(first, second) == (1.0, 1.0)


def test_a_hedge_on_one_side_counts_half() -> None:
    assert counts("There is an effusion.", "There may be an effusion.")[1] == 0.5


def test_anatomy_alone_states_nothing_and_other_languages_are_not_read() -> None:
    statements = read_statements("This is the left lung and the heart.")
    assert statements is not None and not statements.facts
    assert read_statements("Die Lunge zeigt keinen Erguss, das Herz wirkt vergrößert.") is None
