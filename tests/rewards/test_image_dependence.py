"""The reward for dependence on the image with given measurements: what is paid, and when it abstains."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed import prompt, rewards
from lowmed.nano import phantom
from lowmed.rewards import Rollout, Score
from lowmed.rewards.abstention import abstentions
from lowmed.rewards.check import check_rewards
from lowmed.rewards.image_dependence import ImageDependence
from lowmed.rewards.search import search_hacks
from lowmed.rewards.stand_ins import with_stand_ins
from lowmed.sample import Sample

SAMPLE = Sample("s", "Is there a lesion?", "yes", "closed", "g", "t", images=("i",), modality="CT")
RIGHT = "<think>A lesion is in the lung.</think><answer>yes</answer>"
WRONG = RIGHT.replace("yes", "no")
FAMILY = prompt.family("reasoning")


def score(text: str, ratio: float | None, sample: Sample = SAMPLE, reward: ImageDependence | None = None) -> Score:
    return (reward or ImageDependence()).of_group(sample, [Rollout(text, 9, image_log_ratio=ratio)])[0]


@pytest.mark.parametrize(("ratio", "value"), [(0.25, 0.5), (0.5, 1.0), (7.0, 1.0), (0.0, 0.0), (-3.0, 0.0)])
def test_a_right_completion_earns_its_clipped_ratio(ratio: float, value: float) -> None:
    assert score(RIGHT, ratio).value == value


@given(st.floats(allow_nan=False) | st.none())
def test_a_wrong_completion_earns_nothing_however_much_it_depends_on_the_image(ratio: float | None) -> None:
    for text in (WRONG, "", "yes", f"{RIGHT}<answer>no</answer>", "<think>A b c d.</think><answer>yes and no</answer>"):
        assert score(text, ratio).value == 0


@pytest.mark.parametrize(
    "thought",
    ["", "lesion", "a lesion in the lung " * 20, ". . .", "yes </think><think> no"],
)
def test_a_right_answer_without_a_reasoning_earns_nothing(thought: str) -> None:
    assert score(f"<think>{thought}</think><answer>yes</answer>", math.inf).value == 0
    assert score("<answer>yes</answer>", math.inf).value == 0


def test_prompts_that_request_the_answer_alone_have_its_tokens_measured() -> None:
    assert ImageDependence().tag == "think"
    direct = ImageDependence("answer")
    assert direct.tag == "answer"
    assert score("<answer>yes</answer>", 0.5, reward=direct).value == 1


def test_it_abstains_without_an_image_without_another_one_and_without_a_measurement() -> None:
    blind = replace(SAMPLE, images=())
    assert score(RIGHT, 1.0, blind) == Score(None, "the question has no image")
    assert score(WRONG, 1.0, blind).value is None
    alone = ImageDependence().with_corpus([SAMPLE, replace(SAMPLE, id="x", group="h", images=("j",), modality="MRI")])
    assert score(RIGHT, 1.0, reward=alone) == Score(None, "no other group has an image of the same modality")
    assert ImageDependence()(SAMPLE, RIGHT).value is None
    assert ImageDependence()(SAMPLE, WRONG).value == 0


def test_the_exchanged_image_is_one_of_another_group_of_the_training_samples() -> None:
    samples = phantom.samples("train", 60)
    reward = ImageDependence().with_corpus(samples)
    owner = {image: sample for sample in samples for image in sample.images}
    assert set(reward.exchanged) == {sample.id for sample in samples}
    for sample in samples:
        [other] = reward.exchanged[sample.id]
        assert owner[other].group != sample.group
        assert owner[other].modality == sample.modality
    assert reward.with_corpus(samples[:2]) is reward  # the samples of training stay


def test_data_without_images_are_refused_as_an_abstention() -> None:
    built = rewards.build([("image_dependence", 1.0, {})])
    samples = phantom.samples("train", 40)
    [with_images] = abstentions(built, samples, FAMILY)
    assert (with_images.questions, with_images.abstained) == (40, 0)
    [without] = abstentions(built, [replace(sample, images=()) for sample in samples], FAMILY)
    assert without.on_most
    assert without.why == "the question has no image"
    [one_image] = abstentions(built, [replace(sample, images=("i",), group="g") for sample in samples], FAMILY)
    assert one_image.on_most


@pytest.mark.parametrize("options", [{"upper_bound": 0.0}, {"upper_bound": -1.0}, {"min_tokens": 0}])
def test_options_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="upper_bound"):
        ImageDependence(**options)  # type: ignore[arg-type]


def test_in_the_check_no_hack_earns_anything_with_the_best_measurement() -> None:
    built = rewards.build([("accuracy", 1.0, {}), ("image_dependence", 0.3, {})])
    samples = phantom.samples("train", 40)
    report = check_rewards(built, samples, FAMILY)
    assert report.failures == ()
    assert report.in_group == ("image_dependence",)
    assert [result.below_full for result in report.gold] == [0, 0]
    assert search_hacks(built, samples, FAMILY).failures == ()


def test_the_check_notices_a_reward_that_pays_wrong_answers_for_their_dependence() -> None:
    class Blind(ImageDependence):
        def of_group(self, sample: Sample, rollouts: object) -> list[Score]:
            return [Score(min(1.0, rollout.image_log_ratio or 0.0), "depends") for rollout in rollouts]  # type: ignore[attr-defined]

    planted = rewards.Weighted("planted", 1.0, Blind(), needs=frozenset({"image_log_ratio"}))
    [tried] = with_stand_ins([planted], "think_answer")
    assert tried(SAMPLE, "").value == 1
    assert not check_rewards([planted], phantom.samples("train", 20), FAMILY).passed
