"""The majority reward: who is paid, what a frequent answer earns, and that no gold answer is used."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from lowmed import prompt, rewards
from lowmed.nano import phantom
from lowmed.rewards import Rollout, Score
from lowmed.rewards.abstention import abstentions
from lowmed.rewards.check import check_rewards
from lowmed.rewards.majority import Majority
from lowmed.rewards.search import search_hacks
from lowmed.sample import Sample

LESION = Sample("l", "Is there a lesion?", "yes", "closed", "g", "t")
CHOICE = Sample("c", "Which organ?", "lung", "choice", "g", "t", options=("lung", "liver", "heart", "skin"))
OPEN = Sample("o", "What is seen?", "a mass", "open", "g", "t")
FAMILY = prompt.family("reasoning")


def tagged(*answers: str) -> list[str]:
    return [f"<think>I see it there.</think><answer>{text}</answer>" for text in answers]


def scores(sample: Sample, texts: Sequence[str], reward: Majority | None = None) -> list[Score]:
    return (reward or Majority()).of_group(sample, [Rollout(text, 9) for text in texts])


def values(sample: Sample, *answers: str, reward: Majority | None = None) -> list[float | None]:
    return [score.value for score in scores(sample, tagged(*answers), reward)]


def test_completions_that_give_the_majority_answer_are_paid() -> None:
    assert values(CHOICE, *"BBBBB", "liver", "A", "C") == [1.0] * 6 + [0.0, 0.0]
    assert values(OPEN, "a mass", "The mass", "mass.", "nothing") == [1.0, 1.0, 1.0, 0.0]


def test_equality_is_that_of_read_answers_and_not_of_strings() -> None:
    assert values(LESION, "Yes, there is one.", "yes", "YES", "Yes.", "no") == [1.0] * 4 + [0.0]


@pytest.mark.parametrize(
    ("sample", "answers"),
    [
        (CHOICE, ["A", "A", "B", "B"]),  # a tie
        (CHOICE, ["A", "A", "B", "C"]),  # a share of 0.5 is one of 0.33 beyond chance
        (LESION, ["yes", "yes", "no"]),  # 0.67 is 0.33 beyond chance
        (OPEN, ["a mass", "air", "fluid", "bone"]),
        (OPEN, ["a mass"]),  # a vote of one
        (LESION, ["yes"]),
    ],
)
def test_without_a_majority_the_reward_abstains(sample: Sample, answers: list[str]) -> None:
    assert values(sample, *answers) == [None] * len(answers)


def test_two_answers_with_half_of_the_votes_each_are_a_tie_even_without_chance() -> None:
    assert values(OPEN, "a mass", "a mass", "air", "air") == [None] * 4


def test_unread_completions_have_no_vote_and_earn_nothing() -> None:
    texts = [*tagged("yes", "yes", "yes and no", "I cannot say."), "yes", ""]
    assert [score.value for score in scores(LESION, texts)] == [None, None, 0.0, 0.0, 0.0, 0.0]
    assert [score.value for score in scores(LESION, ["", "no tag"])] == [0.0, 0.0]
    paid = [*tagged(*["no"] * 7), "no"]
    assert [score.value for score in scores(LESION, paid)] == [1.0] * 7 + [0.0]


def test_questions_for_json_or_a_long_text_are_left_out() -> None:
    for kind in ("json", "text"):
        sample = replace(OPEN, kind=kind, answer='{"a": 1}')
        assert values(sample, "a mass", "a mass", "a mass") == [None] * 3


def test_gold_answers_change_nothing() -> None:
    samples = phantom.samples("train", 24)
    draw = random.Random(0)
    others = ("yes", "no", "left", "5 cm", "a mass")
    changed = [
        replace(sample, answer=draw.choice(sample.options or others), explanation="", accepted=()) for sample in samples
    ]
    assert sum(a.answer != b.answer for a, b in zip(samples, changed, strict=True)) > 10
    groups = [
        tagged(
            *(draw.choice((sample.answer, sample.answer, *(sample.options or ("yes", "no", "left")))) for _ in range(8))
        )
        for sample in samples
    ]

    def paid(of: Sequence[Sample]) -> list[list[float | None]]:
        reward = Majority()
        reward.prepare([(sample, text) for sample, group in zip(of, groups, strict=True) for text in group])
        return [[one.value for one in scores(sample, group, reward)] for sample, group in zip(of, groups, strict=True)]

    result = paid(samples)
    assert result == paid(changed)
    assert any(1.0 in group for group in result)


def yes_no(number: int) -> Sample:
    return replace(LESION, id=f"l{number}", question=f"Is there a lesion at {number}?")


def step(reward: Majority, groups: Sequence[Sequence[str]]) -> list[list[float | None]]:
    """The values of a step with these answers to yes/no questions."""
    pairs = [(yes_no(number), tagged(*group)) for number, group in enumerate(groups)]
    reward.prepare([(sample, text) for sample, texts in pairs for text in texts])
    return [[score.value for score in scores(sample, texts, reward)] for sample, texts in pairs]


def test_an_answer_that_is_frequent_everywhere_is_not_paid() -> None:
    mostly_yes = ["yes"] * 7 + ["no"]
    assert step(Majority(), [mostly_yes] * 8) == [[None] * 8] * 8
    balanced = step(Majority(), [mostly_yes, ["no"] * 7 + ["yes"]] * 4)
    assert balanced == [[1.0] * 7 + [0.0]] * 8


def test_the_answer_against_the_habit_is_paid() -> None:
    groups = [["yes"] * 7 + ["no"]] * 7 + [["no"] * 7 + ["yes"]]
    assert step(Majority(), groups)[-1] == [1.0] * 7 + [0.0]


def drift(share: float, vote: bool) -> float:
    """The mean advantage of a yes of a policy that ignores the question; above 0 the habit grows."""
    draw = random.Random(1)
    gains = []
    for _ in range(40):
        groups = [["yes" if draw.random() < share else "no" for _ in range(8)] for _ in range(8)]
        plain = [[float(one == max(group, key=group.count)) for one in group] for group in groups]
        voted = [[value or 0.0 for value in values] for values in step(Majority(), groups)]
        for group, reward in zip(groups, voted if vote else plain, strict=True):
            mean = sum(reward) / 8
            gains += [value - mean for value, one in zip(reward, group, strict=True) if one == "yes"]
    return sum(gains) / len(gains)


def test_a_habit_grows_far_less_than_by_the_plain_vote() -> None:
    assert drift(0.7, vote=False) > 0.1
    assert drift(0.7, vote=True) < 0.25 * drift(0.7, vote=False)
    assert drift(0.85, vote=False) > 0.05
    assert drift(0.85, vote=True) < 0.1 * drift(0.85, vote=False)


def test_a_letter_that_is_frequent_everywhere_is_not_paid_although_the_options_differ() -> None:
    samples = [
        replace(CHOICE, id=f"c{number}", options=tuple(f"{name} {number}" for name in "abcd"), answer=f"a {number}")
        for number in range(8)
    ]
    groups = {sample.id: tagged(*["A"] * 7, "B") for sample in samples}
    reward = Majority()
    reward.prepare([(sample, text) for sample in samples for text in groups[sample.id]])
    for sample in samples:
        assert [score.value for score in scores(sample, groups[sample.id], reward)] == [None] * 8
    assert values(samples[0], *["A"] * 7, "B") == [1.0] * 7 + [0.0]  # alone, it is a majority


def test_the_same_question_twice_in_a_step_is_no_prior_of_itself() -> None:
    reward = Majority()
    texts = tagged(*["yes"] * 7, "no")
    reward.prepare([(LESION, text) for text in texts * 4])
    assert [score.value for score in scores(LESION, texts, reward)] == [1.0] * 7 + [0.0]


def test_min_share_is_a_share() -> None:
    for share in (0, 1.5, -1):
        with pytest.raises(ValueError, match="share"):
            Majority(min_share=share)
    assert values(CHOICE, "A", "A", "B", "C", reward=Majority(min_share=0.3)) == [1.0, 1.0, 0.0, 0.0]


def test_it_does_not_abstain_on_short_answers_and_does_on_all_others() -> None:
    built = rewards.build([("majority", 1.0, {})])
    [short] = abstentions(built, phantom.samples("train", 40), FAMILY)
    assert (short.questions, short.abstained) == (40, 0)
    [long] = abstentions(built, [replace(OPEN, kind="text")], FAMILY)
    assert long.on_most


def test_the_check_tries_it_in_a_group_and_no_hack_wins() -> None:
    built = rewards.build([("majority", 1.0, {}), ("format", 0.2, {})])
    samples = phantom.samples("train", 40)
    report = check_rewards(built, samples, FAMILY)
    assert report.failures == ()
    assert report.in_group == ("majority",)
    assert [(result.abstained, result.below_full) for result in report.gold] == [(0, 0), (0, 0)]
    assert search_hacks(built, samples, FAMILY).failures == ()


def test_the_check_notices_a_vote_that_counts_everything_read() -> None:
    class Anything(Majority):
        def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
            return [Score(float(bool(rollout.text)), "a vote") for rollout in rollouts]

    built = [rewards.Weighted("majority", 1.0, Anything(), needs=frozenset({"group"}))]
    assert not check_rewards(built, phantom.samples("train", 20), FAMILY).passed
