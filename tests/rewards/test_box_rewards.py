"""The rewards for boxes: what overlap earns, and hacks that earn nothing or less."""

import pytest

from lowmed import prompt
from lowmed.boxes import Box, boxes_text, on_grid
from lowmed.rewards import hacks
from lowmed.rewards.boxes import Boxes, BoxIou
from lowmed.rewards.check import check_rewards
from lowmed.rewards.registry import build
from lowmed.sample import Sample


def sample(*boxes: Box, size: tuple[int, int] = (200, 100)) -> Sample:
    return Sample("1", "Where is the lesion?", boxes_text(boxes), "boxes", "1", "made", images=("a",), image_size=size)


def completion(question: Sample, *boxes: Box) -> str:
    text = boxes_text(on_grid(boxes, question.image_size, question.box_grid))
    return f"<answer>{text}</answer>"


LESION = Box((20, 20, 60, 60), "lesion")
ONE, NONE = sample(LESION), sample()
TWO = sample(LESION, Box((120, 20, 160, 60), "lesion"))


def score(question: Sample, text: str, reward: Boxes | BoxIou | None = None) -> float:
    value = (reward or Boxes())(question, text).value
    assert value is not None
    return value


def shifted(box: Box, pixels: float) -> Box:
    left, top, right, bottom = box.corners
    return Box((left + pixels, top, right + pixels, bottom), box.label)


def test_the_gold_boxes_earn_everything_and_none_earns_less() -> None:
    for question in (ONE, TWO):
        assert score(question, f"<answer>{question.written_answer}</answer>") == 1.0
        assert score(question, f"<answer>{question.written_answer}</answer>", BoxIou()) == 1.0
    assert score(NONE, "<answer>none</answer>") == score(NONE, "<answer>[]</answer>") == 0.3
    assert score(NONE, "<answer>none</answer>", Boxes(none=1.0)) == 1.0


@pytest.mark.parametrize(("pixels", "credit"), [(0, 1.0), (40 / 3, 0.5), (40 * 0.85 / 1.15, 0.0), (40, 0.0)])
def test_credit_is_piecewise_linear_in_the_overlap(pixels: float, credit: float) -> None:
    # A shift by s of a box of width w overlaps by (w - s) / (w + s).
    text = f"<answer>{boxes_text([shifted(LESION, pixels).scaled(5, 10)])}</answer>"
    assert score(ONE, text) == pytest.approx(credit, abs=1e-3)


def test_one_of_two_boxes_and_two_for_one_earn_two_thirds() -> None:
    assert score(TWO, completion(TWO, LESION)) == pytest.approx(2 / 3)
    assert score(ONE, completion(ONE, LESION, shifted(LESION, 100))) == pytest.approx(2 / 3)
    assert score(TWO, completion(TWO, LESION), BoxIou()) == pytest.approx(1 / 2)
    assert score(TWO, completion(TWO, LESION), Boxes(beta=2.0)) < score(TWO, completion(TWO, LESION), Boxes(beta=0.5))


@pytest.mark.parametrize("size", [(200, 100), (70, 70), (61, 61)])
def test_a_box_around_everything_earns_nothing(size: tuple[int, int]) -> None:
    question = sample(LESION, size=size)
    for around in (Box((0, 0, *size)), Box((-50, -50, 2 * size[0], 2 * size[1]))):
        scaled = around.scaled(1000 / size[0], 1000 / size[1])
        assert score(question, f"<answer>{boxes_text([scaled])}</answer>") == 0.0
    assert score(question, completion(question, LESION)) > 0.9


def test_a_gold_box_of_the_complete_image_can_be_right() -> None:
    question = sample(Box((0, 0, 200, 100), "x"))
    assert score(question, completion(question, Box((0, 0, 200, 100)))) == 1.0


@pytest.mark.parametrize("question", [ONE, TWO, NONE])
def test_known_hacks_earn_less_than_half_of_the_right_answer(question: Sample) -> None:
    best = score(question, f"<answer>{question.written_answer}</answer>")
    for name, text in hacks.hack_completions(question, "answer").items():
        for reward in (Boxes(), BoxIou()):
            earned = score(question, text, reward)
            assert earned < 0.5 * best, name


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{ONE.written_answer}</think>",
        f"<think><answer>{ONE.written_answer}</answer></think><answer>none</answer>",
        f"<answer>{ONE.written_answer}</answer><answer>none</answer>",
        f"<answer>{ONE.written_answer} or none</answer>",
        ONE.written_answer,
        '<answer>[{"bbox_2d": [300, 600, 100, 200], "label": "lesion"}]</answer>',
        '<answer>[{"bbox_2d": [100, 200, 100, 600], "label": "lesion"}]</answer>',
        f"<answer>{ONE.answer}</answer>",  # in pixels, not in thousandths
    ],
)
def test_boxes_elsewhere_or_in_another_form_earn_nothing(text: str) -> None:
    assert score(ONE, text) == 0.0
    assert score(ONE, text, BoxIou()) == 0.0


def test_repeated_boxes_and_covers_of_the_image_cost_more_than_they_gain() -> None:
    single = score(ONE, completion(ONE, shifted(LESION, 8)))
    assert score(ONE, completion(ONE, *[shifted(LESION, 8)] * 20)) < single / 5
    spread = [shifted(LESION, pixels) for pixels in range(-16, 17, 8)]
    assert score(ONE, completion(ONE, *spread)) < single


def test_other_kinds_are_left_out() -> None:
    other = Sample("1", "Is there a lesion?", "yes", "closed", "1", "made")
    assert Boxes()(other, "<answer>yes</answer>").value is None


@pytest.mark.parametrize("options", [{"floor": 0.6}, {"threshold": 1.0}, {"beta": 0.0}, {"none": 1.5}])
def test_options_outside_of_their_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"floor|beta|none"):
        Boxes(**options)


def test_the_check_of_rewards_passes_for_boxes() -> None:
    built = build([("boxes", 1.0, {}), ("format", 0.2, {})], "answer")
    report = check_rewards(built, [ONE, TWO, NONE], prompt.family("boxes"))
    assert report.passed, report.as_json()
