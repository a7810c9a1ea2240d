import pytest

from lowmed import prompt
from lowmed.errors import RecipeError
from lowmed.sample import Sample

CHOICE = Sample(
    "1", "Where is it?", "right lung", "choice", "img", "test", images=("a", "b"), options=("left lung", "right lung")
)
CLOSED = Sample("2", "Is there a mass?", "yes", "closed", "img", "test", images=("a",), explanation="A mass is seen.")


def text_of(messages: list[prompt.Message]) -> str:
    return str(messages[0]["content"][-1]["text"])


def test_a_choice_is_shown_with_letters_and_referenced_by_one() -> None:
    family = prompt.family("reasoning")
    asked = text_of(prompt.ask(family, CHOICE))
    assert "A. left lung\nB. right lung" in asked
    assert prompt.reference(family, CHOICE).endswith("<answer>B</answer>")


def test_every_image_has_its_placeholder_before_the_text() -> None:
    content = prompt.ask(prompt.family("direct"), CHOICE)[0]["content"]
    assert [part["type"] for part in content] == ["image", "image", "text"]


@pytest.mark.parametrize("name", list(prompt.FAMILIES))
def test_no_wording_depends_on_the_gold_answer(name: str) -> None:
    other = Sample("2", CLOSED.question, "no", "closed", "img", "test", images=("a",))
    family = prompt.family(name)
    for draw in range(len(family.wordings)):
        assert prompt.ask(family, CLOSED, draw) == prompt.ask(family, other, draw)
        assert CLOSED.question in text_of(prompt.ask(family, CLOSED, draw))


def test_diversity_means_several_wordings_and_the_first_is_the_one_of_inference() -> None:
    diverse = prompt.family("diverse")
    texts = {text_of(prompt.ask(diverse, CLOSED, draw)) for draw in range(8)}
    assert len(texts) == len(diverse.wordings) > 1
    assert prompt.ask(diverse, CLOSED, 0) == prompt.ask(prompt.family("reasoning"), CLOSED)


def test_the_reference_reasons_where_an_explanation_exists() -> None:
    assert prompt.reference(prompt.family("diverse"), CLOSED) == "<think>A mass is seen.</think><answer>yes</answer>"
    assert prompt.reference(prompt.family("direct"), CLOSED) == "<answer>yes</answer>"


def test_braces_in_a_question_are_left_alone() -> None:
    odd = Sample("3", "What is {this} {question}?", "x", "open", "img", "test")
    assert "What is {this} {question}?" in text_of(prompt.ask(prompt.family("direct"), odd))


def test_an_unknown_family_is_told() -> None:
    with pytest.raises(RecipeError, match="no prompt family"):
        prompt.family("poetic")


def test_families_have_digests_of_their_own() -> None:
    assert len({family.digest for family in prompt.FAMILIES.values()}) == len(prompt.FAMILIES)


@pytest.mark.parametrize(
    "change",
    [{"answer": " "}, {"id": ""}, {"group": ""}, {"question": "\n"}, {"options": ("right lung",)}, {"answer": "liver"}],
)
def test_a_sample_that_can_not_be_asked_or_graded_is_refused(change: dict[str, object]) -> None:
    fields = {name: getattr(CHOICE, name) for name in CHOICE.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"no |option"):
        Sample(**{**fields, **change})
