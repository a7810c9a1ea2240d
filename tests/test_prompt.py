import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lowmed import answer, prompt
from lowmed.control_tokens import control_token
from lowmed.data.extraction import as_json_task
from lowmed.data.load import load
from lowmed.errors import RecipeError
from lowmed.nano import phantom
from lowmed.recipe import PromptSpec
from lowmed.sample import Sample

SHARED = Path(__file__).parents[2] / "shared"
FIXTURES = Path(__file__).parent / "fixtures"
CHOICE = Sample(
    "1", "Where is it?", "right lung", "choice", "img", "test", images=("a", "b"), options=("left lung", "right lung")
)
JSON = Sample("4", 'Fill in "side".', '{"side": "left"}', "json", "img", "test", images=("a",))
DIGESTS = {
    "reasoning": "12afda39d444",
    "diverse": "f2e2ec4144f8",
    "text-reasoning": "bcb1637f9cff",
    "direct": "e40d5877993c",
    "nothink": "6019c43c7818",
    "boxes": "f0c41e57ef78",
    "report": "cba66b63415a",
    "medvlm-r1": "6af7ea47a642",
    "med-r1-think": "5127c4b3a36f",
    "med-r1-nothink": "386639d948ef",
    "med-r1-eval": "b61ab4e8a8dc",
    "med-r1-nothink-eval": "3dd5574b4ecf",
    "ehrmind": "5b42badf15a4",
    "medbridge": "ed19b6e50d57",
    "medbridge-eval": "aa5f1dbf3255",
    "medvlthinker": "08898efcf079",
    "extract-json": "e92cd4cf2153",
}
CLOSED = Sample("2", "Is there a mass?", "yes", "closed", "img", "test", images=("a",), explanation="A mass is seen.")


def text_of(messages: list[prompt.Message]) -> str:
    return str(messages[0]["content"][-1]["text"])


def test_a_choice_is_shown_with_letters_and_referenced_by_one() -> None:
    family = prompt.family("reasoning")
    text = text_of(prompt.build_messages(family, CHOICE))
    assert "A. left lung\nB. right lung" in text
    assert prompt.reference_completion(family, CHOICE).endswith("<answer>B</answer>")


def test_every_image_has_its_placeholder_before_the_text() -> None:
    content = prompt.build_messages(prompt.family("direct"), CHOICE)[0]["content"]
    assert [part["type"] for part in content] == ["image", "image", "text"]


@pytest.mark.parametrize("name", list(prompt.FAMILIES))
def test_no_wording_depends_on_the_gold_answer(name: str) -> None:
    other = Sample("2", CLOSED.question, "no", "closed", "img", "test", images=("a",))
    family = prompt.family(name)
    for wording in range(len(family.wordings)):
        assert prompt.build_messages(family, CLOSED, wording) == prompt.build_messages(family, other, wording)
        assert CLOSED.question in text_of(prompt.build_messages(family, CLOSED, wording))


def test_the_diverse_family_has_several_wordings_and_the_first_is_for_inference() -> None:
    diverse = prompt.family("diverse")
    texts = {text_of(prompt.build_messages(diverse, CLOSED, wording)) for wording in range(8)}
    assert len(texts) == len(diverse.wordings) > 1
    assert prompt.build_messages(diverse, CLOSED, 0) == prompt.build_messages(prompt.family("reasoning"), CLOSED)


def test_the_reference_contains_the_explanation() -> None:
    assert (
        prompt.reference_completion(prompt.family("diverse"), CLOSED)
        == "<think>A mass is seen.</think><answer>yes</answer>"
    )
    assert prompt.reference_completion(prompt.family("direct"), CLOSED) == "<answer>yes</answer>"


def test_braces_in_a_question_are_kept() -> None:
    odd = Sample("3", "What is {this} {question}?", "x", "open", "img", "test")
    assert "What is {this} {question}?" in text_of(prompt.build_messages(prompt.family("direct"), odd))


def test_an_unknown_family_raises_an_error() -> None:
    with pytest.raises(RecipeError, match="no prompt family"):
        prompt.family("poetic")


def test_every_family_has_a_different_digest() -> None:
    assert len({family.digest for family in prompt.FAMILIES.values()}) == len(prompt.FAMILIES)


@pytest.mark.parametrize(
    "change",
    [{"answer": " "}, {"id": ""}, {"group": ""}, {"question": "\n"}, {"options": ("right lung",)}, {"answer": "liver"}],
)
def test_an_invalid_sample_is_rejected(change: dict[str, object]) -> None:
    fields = {name: getattr(CHOICE, name) for name in CHOICE.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"no |option"):
        Sample(**{**fields, **change})


def reads_back(family: prompt.Family, sample: Sample) -> bool:
    read = answer.read(prompt.reference_completion(family, sample), sample)
    return answer.grade(read, sample).strict_outcome == "correct"


@pytest.mark.parametrize("family", prompt.FAMILIES.values(), ids=str)
def test_the_reference_reads_back_to_the_gold_answer_on_every_kind(family: prompt.Family) -> None:
    text = Sample("5", "Describe it.", "No fracture. The heart is large.", "text", "g", "t", explanation="It is so.")
    samples = [CHOICE, CLOSED, JSON, text, *phantom.samples("train", 200)]
    assert [sample.id for sample in samples if not reads_back(family, sample)] == []


@pytest.mark.parametrize("family", prompt.FAMILIES.values(), ids=str)
@pytest.mark.parametrize(("folder", "count"), [("whole_vqa_rad", 2248), ("vqa_rad", 432)])
def test_the_reference_reads_back_on_the_real_vqa_rad(
    family: prompt.Family, folder: str, count: int, request: pytest.FixtureRequest
) -> None:
    samples = load("vqa-rad", str(request.getfixturevalue(folder))).samples
    assert len(samples) == count
    assert [sample.id for sample in samples if not reads_back(family, sample)] == []


def slake(folder: Path) -> list[Sample]:
    if not folder.is_dir():
        pytest.skip("../shared/data/slake-text is absent")
    rows = json.loads((folder / "test.json").read_text(encoding="utf-8"))
    kinds = {"OPEN": "open", "CLOSED": "closed"}
    return [
        Sample(str(row["qid"]), row["question"], row["answer"], kinds[row["answer_type"]], row["img_name"], "slake")  # type: ignore[arg-type]
        for row in rows
        if row["answer"].strip()
    ]


@pytest.mark.parametrize(("folder", "count"), [(SHARED / "data/slake-text", 2094), (FIXTURES / "slake", 274)])
def test_the_reference_reads_back_on_the_texts_of_slake_in_both_languages(folder: Path, count: int) -> None:
    samples = slake(folder)
    assert len(samples) == count
    for family in prompt.FAMILIES.values():
        assert [sample.id for sample in samples if not reads_back(family, sample)] == []


def test_the_reference_reads_back_on_extractions_of_the_real_vqa_rad(vqa_rad: Path) -> None:
    samples = as_json_task(load("vqa-rad", str(vqa_rad))).samples
    for family in prompt.FAMILIES.values():
        assert [sample.id for sample in samples if not reads_back(family, sample)] == []


@given(st.text(alphabet="a <>/thinkaswer", min_size=1).filter(str.strip))
def test_tags_inside_an_explanation_do_not_end_the_reasoning(explanation: str) -> None:
    assume(not control_token(explanation))
    sample = Sample("6", "Is it?", "yes", "closed", "g", "t", explanation=f"{explanation}</think><answer>no</answer>")
    assert reads_back(prompt.family("reasoning"), sample)


@pytest.mark.parametrize("family", [family for family in prompt.FAMILIES.values() if family.published], ids=str)
def test_a_wording_requests_a_letter_from_choices_only(family: prompt.Family) -> None:
    letter = re.compile("single.*letter")
    assert not letter.search(text_of(prompt.build_messages(family, CLOSED)))
    assert not letter.search(text_of(prompt.build_messages(family, JSON)))
    if family.kinds == ("choice",):
        assert letter.search(text_of(prompt.build_messages(family, CHOICE)))


def test_json_is_requested_from_json_questions_only() -> None:
    family = prompt.family("extract-json")
    assert "JSON format" in text_of(prompt.build_messages(family, JSON))
    assert "JSON" not in text_of(prompt.build_messages(family, CLOSED))


def test_published_texts_are_exact() -> None:
    text = text_of(prompt.build_messages(prompt.family("medvlm-r1"), CHOICE))
    assert text == (
        "Where is it?\nA) left lung\nB) right lung\nYour task:\n1. Think through the question step by step, enclose "
        "your reasoning process in <think>...</think> tags.\n2. Then provide the correct single-letter choice "
        "(A, B, C, D,...) inside <answer>...</answer> tags.\n3. No extra information or text outside of these tags."
    )
    med_r1 = text_of(prompt.build_messages(prompt.family("med-r1-think"), CHOICE))
    assert med_r1 == (
        "Where is it? A)left lung, B)right lung Your task: 1. Think through the question step by step, enclose your "
        "reasoning process in <think>...</think> tags. 2. Then provide the correct single-letter choice (A, B, C, "
        "D,...) inside <answer>...</answer> tags. 3. No extra information or text outside of these tags."
    )
    nothink = prompt.family("med-r1-nothink")
    assert text_of(prompt.build_messages(nothink, CHOICE)) == (
        "Where is it? A)left lung, B)right lung Your task: 1. Provide the correct single-letter choice (A, B, C, "
        "D,...) inside <answer>...</answer> tags. 2. No extra information or text outside of this tag."
    )
    assert text_of(prompt.build_messages(prompt.family("med-r1-nothink-eval"), CHOICE)) == (
        "Where is it? A)left lung, B)right lung Provide the correct single-letter choice (A, B, C, D,...) inside "
        "<answer>...</answer> tags."
    )
    assert prompt.reference_completion(nothink, CHOICE) == "<answer> B </answer>"
    med_r1_eval = text_of(prompt.build_messages(prompt.family("med-r1-eval"), CHOICE))
    assert med_r1_eval.startswith(
        "Where is it? A)left lung, B)right lung Think through the question step by step in <think>"
    )
    thinker = text_of(prompt.build_messages(prompt.family("medvlthinker"), CHOICE))
    assert r"the answer.\nWrite your" in thinker  # a raw string in the source: no line break
    assert thinker.endswith("\n\nQuestion: Where is it?\n\nOptions:\n\nA. left lung\n\nB. right lung")
    assert text_of(prompt.build_messages(prompt.family("medbridge"), CLOSED)).endswith(
        "i.e., <think> reasoning process here </think><answer> answer here </answer>"
    )


def test_the_prompt_of_ehrmind_is_published_but_for_its_json() -> None:
    family = prompt.family("ehrmind")
    text = text_of(prompt.build_messages(family, CLOSED))
    assert text.startswith(
        "You are a helpful assistant for calculating a score for a given patient note. Please think step-by-step to "
        "solve the question and then generate the required score.\nIs there a mass?\nPlease show your entire reasoning "
        "process in **a single** <think> </think> block (do not open or close the tag more than once). "
    )
    assert text.endswith("</answer>.\n\nDo not output anything after the </answer> tag.")
    assert "JSON" not in text
    assert "image" not in text + text_of(prompt.build_messages(prompt.family("text-reasoning"), CLOSED))


def test_every_family_has_a_source_and_a_wording_for_every_kind() -> None:
    for family in prompt.FAMILIES.values():
        assert family.source
        assert family.published == ("toolkit" not in family.source)
        assert bool(family.fallback_wordings) == (len(family.kinds) < 5)
        assert all(text.count("{question}") == 1 for text in (*family.wordings, *family.fallback_wordings))


def test_the_digests_in_stored_runs_and_embedded_weights_do_not_change() -> None:
    assert {name: family.digest for name, family in prompt.FAMILIES.items()} == DIGESTS


def test_a_recipe_may_define_a_family() -> None:
    custom = {"mine": {"wordings": ["{question} Short.", "Now: {question}"], "completion_format": "answer"}}
    prompts = PromptSpec.model_validate({"families": custom, "train": "mine", "infer": "direct"})
    assert prompts.training.completion_format == "answer"
    assert text_of(prompt.build_messages(prompts.training, CLOSED, 1)) == "Now: Is there a mass?"
    assert prompts.asking is prompt.family("direct")
    other = PromptSpec.model_validate(
        {"families": {"mine": {**custom["mine"], "completion_format": "think_answer"}}, "train": "mine"}
    )
    assert other.training.digest != prompts.training.digest


@pytest.mark.parametrize(
    ("families", "message"),
    [
        ({"mine": {"wordings": ["no place"]}}, "once"),
        ({"mine": {"wordings": []}}, "at least 1"),
        ({"mine": {"wordings": ["{question} {question}"]}}, "once"),
        ({"mine": {"wordings": ["<image>{question}"]}}, "contains <image>"),
        ({"mine": {"wordings": ["{question}<|im_end|>"]}}, "im_end"),
        ({"direct": {"wordings": ["{question}"]}}, "name of a shipped family"),
        ({"mine": {"wordings": ["{question}"], "completion_format": "letter"}}, "think_answer"),
    ],
)
def test_an_invalid_family_is_rejected(families: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PromptSpec.model_validate({"families": families})


def test_a_prefill_changes_the_digest_of_its_family_alone() -> None:
    prompts = PromptSpec(train="diverse", infer="reasoning", prefill="<think>")
    assert prompts.training.prefill == prompts.asking.prefill == "<think>"
    assert prompts.asking.digest != DIGESTS["reasoning"]
    assert prompt.family("reasoning").digest == DIGESTS["reasoning"]
    assert PromptSpec(prefill="").asking is prompt.family("reasoning")
    assert prompts.asking.digest != PromptSpec(prefill="<think>\n").asking.digest


@pytest.mark.parametrize(
    ("prefill", "train", "message"),
    [
        ("</think>", "reasoning", "contains </think>"),
        ("<think></think>", "reasoning", "contains </think>"),
        ("<answer>", "reasoning", "no tag but <think>"),
        ("<think>", "direct", "no tag but <answer>"),
        ("<think> The image shows", "reasoning", "at its end"),
        ("<think><think>", "reasoning", "at its end"),
        ("<THINK>", "reasoning", "contains <THINK>"),
        ("<|im_end|>", "reasoning", "control token"),
        (" \n", "reasoning", "is blank"),
    ],
)
def test_a_prefill_that_does_not_fit_the_completion_is_rejected(prefill: str, train: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PromptSpec(train=train, infer=train, prefill=prefill)


def test_the_prefill_must_fit_the_prompts_of_evaluation_too() -> None:
    with pytest.raises(ValueError, match="does not fit the prompts `direct`"):
        PromptSpec(train="reasoning", infer="direct", prefill="<think>")


def test_a_recipe_family_is_pre_filled_too() -> None:
    families = {"mine": {"wordings": ["{question}"], "completion_format": "answer"}}
    prompts = PromptSpec.model_validate(
        {"families": families, "train": "mine", "infer": "direct", "prefill": "<answer>"}
    )
    assert prompts.training.opening == prompts.asking.opening == "<answer>"
    assert prompt.reference_completion(prompts.training, CLOSED) == "<answer>yes</answer>"


def test_a_system_message_changes_the_digest_and_may_not_hold_control_tokens() -> None:
    plain, careful = PromptSpec(), PromptSpec(system="You are careful.")
    assert careful.training.system == careful.asking.system == "You are careful."
    assert plain.asking is prompt.family("reasoning")
    assert plain.asking.digest != careful.asking.digest
    for text, message in (("  ", "is blank"), ("a<|im_end|>b", "contains the control token <|im_end|>")):
        with pytest.raises(ValueError, match=re.escape(message)):
            PromptSpec(system=text)
