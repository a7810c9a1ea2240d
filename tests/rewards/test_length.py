"""Rewards of length and repetition: what they pay, and that two are marked as paying length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.errors import RecipeError
from lowmed.rewards import Rollout, build
from lowmed.rewards.length import Chain, ChainIfCorrect, Overlong
from lowmed.rewards.repetition import Repetition
from lowmed.sample import Sample

SAMPLE = Sample("s", "Where?", "left lung", "open", "g", "t")


def completion(words: int, answer: str = "left lung") -> str:
    return f"<think>{' '.join(f'w{n}' for n in range(words))}</think><answer>{answer}</answer>"


@pytest.mark.parametrize(("words", "value"), [(0, 0.0), (5, 0.5), (10, 1.0), (4000, 1.0)])
def test_chain_pays_length_up_to_its_target_right_or_wrong(words: int, value: float) -> None:
    assert Chain(10)(SAMPLE, completion(words)).value == value
    assert Chain(10)(SAMPLE, completion(words, "heart")).value == value


def test_chain_if_correct_pays_length_for_right_answers_only() -> None:
    assert ChainIfCorrect(10)(SAMPLE, completion(5)).value == 0.5
    assert ChainIfCorrect(10)(SAMPLE, completion(5, "heart")).value == 0.0
    assert ChainIfCorrect(10)(SAMPLE, f"{completion(50)}<answer>left lung</answer>").value == 0.0


@pytest.mark.parametrize("text", ["w " * 90, f"<think>{'w ' * 90}", f"<think>{'w ' * 90}</think><answer></answer>"])
def test_length_outside_of_a_think_block_before_an_answer_is_not_paid(text: str) -> None:
    assert Chain(10)(SAMPLE, text).value == 0.0


def test_length_rewards_abstain_without_requested_reasoning_and_are_marked_as_paying_length() -> None:
    for built in build([("chain", 1.0, {}), ("chain_if_correct", 1.0, {})], "answer"):
        assert built(SAMPLE, "<answer>left lung</answer>").value is None
        assert built.pays_length
    assert not build([("accuracy", 1.0, {})])[0].pays_length


@pytest.mark.parametrize(("tokens", "value"), [(0, 1.0), (90, 1.0), (95, 0.5), (100, 0.0), (4000, 0.0)])
def test_overlong_falls_over_its_last_tokens(tokens: int, value: float) -> None:
    assert Overlong(10, 100).of_group(SAMPLE, [Rollout("", tokens)])[0].value == value


def test_overlong_counts_words_and_punctuation_without_a_token_count() -> None:
    assert Overlong(10, 100)(SAMPLE, "word " * 95).value == 0.5
    assert Overlong(10, 100)(SAMPLE, "。" * 4000).value == 0.0


def test_overlong_uses_the_completion_length_of_the_recipe() -> None:
    [built] = build([("overlong", 1.0, {"cache": 10})], max_new_tokens=20)
    assert built.of_group(SAMPLE, [Rollout("", 15)])[0].value == 0.5
    with pytest.raises(RecipeError, match="cache is from 1 to max_new_tokens"):
        build([("overlong", 1.0, {"cache": 30})], max_new_tokens=20)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0.0),
        (" . , ", 0.0),
        ("left lung", 1.0),
        (completion(40), 1.0),
        ("a mass in the left lung and a mass in the left lung", pytest.approx(7 / 10 / 0.8)),
        ("a mass in the left lung and in the left lung a scar too", 1.0),
        ("left " * 100, pytest.approx(1 / 97 / 0.8)),
    ],
)
def test_repetition_pays_the_share_of_distinct_ngrams(text: str, value: float) -> None:
    assert Repetition()(SAMPLE, text).value == value


@given(st.text("ab c.<>/think\n"), st.integers(1, 6), st.floats(0, 0.9))
def test_values_stay_in_their_range(text: str, n: int, allowed: float) -> None:
    for value in (
        Repetition(n, allowed)(SAMPLE, text).value,
        Chain(n)(SAMPLE, text).value,
        Overlong()(SAMPLE, text).value,
    ):
        assert value is not None
        assert 0.0 <= value <= 1.0
