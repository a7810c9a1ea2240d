"""The check of texts that were written without the image, and the search for texts that earn too much."""

import json
import random
from dataclasses import dataclass, replace

import pytest
from rewards.reports import SAMPLES as REPORTS
from typer.testing import CliRunner

from lowmed import answer, prompt, rewards
from lowmed.cli.rewards import app
from lowmed.nano import phantom
from lowmed.rewards import blind, mutations
from lowmed.rewards.check import check_rewards
from lowmed.rewards.search import search_hacks
from lowmed.sample import Sample

FAMILY = prompt.family("reasoning")
SAMPLES = phantom.samples("train", 60)
CHOSEN: list[tuple[str, float, dict[str, object]]] = [("accuracy", 1.0, {}), ("format", 0.2, {})]


def built(by: str) -> list[rewards.Weighted]:
    return rewards.build([*CHOSEN, ("reasoning", 0.5, {"by": by})])


@pytest.mark.parametrize("samples", [SAMPLES, REPORTS], ids=["phantom", "reports"])
def test_no_blind_text_earns_half_of_an_honest_completion(samples: tuple[Sample, ...]) -> None:
    report = check_rewards(built("findings"), samples, FAMILY)
    assert {result.reward for result in report.blind} == {"accuracy", "reasoning"}  # `format` pays form
    for blind_result in report.blind:
        for result in blind_result.texts.values():
            assert result.honest > 0.4
            assert result.paid < 0.25 * result.honest
    assert report.failures == ()


def test_a_reward_of_word_overlap_fails_the_check() -> None:
    report = check_rewards(built("lexical"), SAMPLES, FAMILY)
    [failure] = report.failures
    assert failure.startswith("a list of frequent words earns 0.4")
    assert "more than half" in failure


@dataclass(frozen=True)
class Planted:
    """A reward with a weakness: it pays any of some words in the completion."""

    words: tuple[str, ...] = ("image", "lesion", "tissue")
    pays_form: bool = False

    def __call__(self, sample: Sample, completion: str) -> rewards.Score:
        return rewards.Score(float(any(word in completion for word in self.words)), "planted")


def test_a_reward_that_pays_any_text_fails_unless_it_pays_form_by_design() -> None:
    planted = rewards.Weighted("planted", 1.0, Planted())
    failures = check_rewards([planted], SAMPLES, FAMILY).failures
    for text in ("another image's completion", "a list of frequent words", "the best constant completion"):
        assert any(failure.startswith(f"{text} earns") for failure in failures), text
    form = rewards.Weighted("form", 1.0, Planted(pays_form=True))
    assert check_rewards([form], SAMPLES, FAMILY).blind == ()


def test_a_guess_between_two_answers_passes_and_naming_both_fails() -> None:
    sides = [sample for sample in phantom.samples("train", 300) if sample.answer in ("left", "right")]

    def one_side(sample: Sample, text: str) -> rewards.Score:
        thought = text.split("</think>")[0]
        return rewards.Score(float([side for side in ("left", "right") if side in thought] == [sample.answer]), "one")

    def any_side(sample: Sample, text: str) -> rewards.Score:
        return rewards.Score(float(sample.answer in text.split("</think>")[0]), "any")

    one, both = (
        list(check_rewards([rewards.Weighted("side", 1.0, reward)], sides, FAMILY).blind[0].failures())
        for reward in (one_side, any_side)
    )
    assert one == []
    assert [text.split(" earns")[0] for text in both] == ["a list of frequent words"]


def test_a_wrong_answer_that_earns_as_much_as_a_right_one_is_found() -> None:
    mentioned = rewards.Weighted(
        "mentioned", 1.0, lambda sample, text: rewards.Score(float(sample.answer in text), "mentioned")
    )
    report = search_hacks([mentioned], SAMPLES, FAMILY)
    assert report.wrong_answer is not None
    assert report.wrong_answer.wins
    assert report.wrong_answer.paid == report.wrong_answer.honest_right == 1.0
    sample = next(sample for sample in SAMPLES if sample.id == report.wrong_answer.sample)
    assert answer.grade(answer.read(report.wrong_answer.text, sample), sample).outcome != "correct"
    assert "the search found a wrong answer" in report.failures[0]


def test_the_search_improves_a_constant_and_repeats_itself() -> None:
    report = search_hacks(built("lexical"), SAMPLES, FAMILY)
    assert report == search_hacks(built("lexical"), SAMPLES, FAMILY)
    [accuracy, reasoning] = report.constants
    assert (accuracy.reward, accuracy.result.paid) == ("accuracy", 0.0)
    assert reasoning.result.wins
    assert report.tried > 200


@pytest.mark.parametrize("samples", [SAMPLES, REPORTS], ids=["phantom", "reports"])
def test_the_search_finds_nothing_that_fools_the_shipped_rewards(samples: tuple[Sample, ...]) -> None:
    report = search_hacks(built("findings"), samples, FAMILY)
    assert report.failures == ()
    assert report.wrong_answer is not None
    assert report.wrong_answer.paid <= 0.7 + 1e-9  # the gold reasoning in form, with a wrong answer
    [mutated] = report.mutated
    assert mutated.gold == 1.0
    assert mutated.paid["reorder words"] < 0.1
    assert mutated.paid["change numbers"] < 0.35
    assert mutated.paid["swap sides"] < 0.35
    assert mutated.paid["hedge"] <= 0.8


def test_texts_of_rows_without_explanations_are_checked_too() -> None:
    samples = [replace(sample, explanation="") for sample in SAMPLES]
    assert check_rewards(rewards.build(CHOSEN), samples, FAMILY).failures == ()
    assert search_hacks(rewards.build(CHOSEN), samples, FAMILY).failures == ()
    direct = prompt.family("direct")
    assert search_hacks(rewards.build(CHOSEN, "answer"), SAMPLES, direct).failures == ()
    assert tuple(blind.try_blind_texts(built("findings"), samples[:1], FAMILY)) == ()


def test_half_of_the_gold_reasoning_ends_at_a_sentence_or_clause() -> None:
    sample = replace(SAMPLES[0], explanation="A mass is seen. It is large, and it lies left. No effusion.")
    text = blind.shortened(sample, FAMILY)
    assert text.startswith("<think>A mass is seen. It is large,</think><answer>")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("swap sides", "The Left upper lobe, 左", "The right lower lobe, 右"),
        ("drop denials", "No effusion, not large, 没有", "effusion, large, "),
        ("add a denial", "A mass is seen", "A mass is no seen"),
        ("change numbers", "Two masses of 3.5 cm", "three masses of 8 cm"),
        ("repeat", "A mass.", "A mass. A mass."),
    ],
)
def test_a_mutation_makes_a_text_false(name: str, text: str, expected: str) -> None:
    assert mutations.THOUGHT_MUTATIONS[name](text, random.Random(0)) == expected


def test_the_command_reports_the_search_and_fails_on_word_overlap() -> None:
    report = json.loads(CliRunner().invoke(app, ["check", "--recipe", "rarl", "--nano", "--json"]).stdout)
    assert report["search"]["failures"] == report["failures"] == []
    assert {one["reward"] for one in report["blind"]} == {"accuracy", "reasoning"}
    lexical = "method.rewards=[{name: accuracy}, {name: reasoning, by: lexical}, {name: format, weight: 0.2}]"
    failed = CliRunner().invoke(app, ["check", "--recipe", "rarl", "--nano", lexical])
    assert failed.exit_code == 1
    assert "search   " in failed.stdout
    assert "fails    a list of frequent words earns" in failed.stdout
    assert "fails    one reasoning for all rows that the search found" in failed.stdout
