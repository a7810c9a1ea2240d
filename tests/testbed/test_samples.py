"""Samples and images of the testbed: reproducible, balanced, right by an independent reading, and turned by dials."""

import hashlib
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lowmed import prompt
from lowmed.boxes import parse_boxes
from lowmed.errors import DataError
from lowmed.recipe.dials import Dials
from lowmed.sample import Sample
from lowmed.testbed import samples as testbed
from lowmed.testbed.questions import MALIGNANT_OVER, TOPICS
from lowmed.testbed.scene import SEEN, UNSEEN, Finding, Scene

EVERY_SPLIT = pytest.mark.parametrize("split", testbed.SPLITS)
EVERY_TOPIC = pytest.mark.parametrize("topic", TOPICS)
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}


def pixels(reference: str) -> NDArray[np.int64]:
    return np.asarray(testbed.open_image(reference)).astype(np.int64)


def stratum(sample: Sample, name: str) -> str:
    return dict(sample.strata)[name]


def test_samples_and_pixels_are_the_same_on_every_machine() -> None:
    fields = ("id", "question", "answer", "kind", "explanation", "modality", "topic", "images", "options", "strata")
    chosen = [*testbed.samples("train", 100, 3, Dials(marker=0.5, label_noise=0.2)), *testbed.samples("unseen", 60)]
    text = "\n".join(repr([getattr(sample, name) for name in fields]) for sample in chosen)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "a6f10a111f5cafe2"
    images = [pixels(reference).astype(np.uint8).tobytes() for sample in chosen for reference in sample.images]
    assert hashlib.sha256(b"".join(images)).hexdigest()[:16] == "aff6eb0b3a123732"


@EVERY_SPLIT
def test_a_larger_count_only_adds_samples_at_the_end(split: testbed.Split) -> None:
    assert testbed.samples(split, 20) == testbed.samples(split, 50)[:20]


def test_splits_and_seeds_share_no_sample_or_image() -> None:
    chosen = [sample for split in testbed.SPLITS for seed in (0, 1) for sample in testbed.samples(split, 40, seed)]
    images = [pixels(reference).tobytes() for sample in chosen for reference in sample.images]
    assert len(set(images)) == len(images)
    assert len({sample.id for sample in chosen}) == len(chosen)


def test_unseen_modalities_are_in_the_unseen_split_only() -> None:
    for split in testbed.SPLITS:
        chosen = testbed.samples(split, 400)
        assert {sample.modality for sample in chosen} == set(UNSEEN if split == "unseen" else SEEN)
        if split != "unseen":
            assert not [sample for sample in chosen if any(name in repr(sample) for name in UNSEEN)]


def test_topics_answers_and_letters_are_equally_frequent() -> None:
    chosen = testbed.samples("test", 6000)
    assert all(500 < count < 700 for count in Counter(sample.topic for sample in chosen).values())
    for name, topic in TOPICS.items():
        answers = Counter(sample.answer for sample in chosen if sample.topic == name)
        assert set(answers) == set(topic.answers)
        even = answers.total() / len(topic.answers)
        assert all(0.8 * even < count < 1.2 * even for count in answers.values()), answers
        if topic.kind == "choice":
            letters = Counter(sample.letter for sample in chosen if sample.topic == name)
            even = letters.total() / len(topic.answers)
            assert all(0.75 * even < count < 1.25 * even for count in letters.values()), letters


def _named(text: str, scene: Scene) -> list[Finding]:
    """The findings whose quadrants a text names, in its order."""
    places = re.findall(r"(?:upper|lower) (?:left|right)", text)
    return [finding for place in places for finding in scene.findings if finding.quadrant == place]


def _answer(sample: Sample, scene: Scene, before: Scene | None) -> str:
    """The answer, read from the question's text and the scene without the code of the questions."""
    named = _named(sample.question, scene)
    if sample.topic == "presence":
        return "yes" if named else "no"
    if sample.topic == "modality":
        return scene.modality
    if sample.topic in ("density", "margin"):
        return str(getattr(named[0], sample.topic))
    if sample.topic == "size":
        return str(named[0].millimeters)
    if sample.topic == "count":
        return next(word for word, number in NUMBERS.items() if number == len(scene.findings))
    if sample.topic == "count_by":
        value = next(word for word in ("dense", "lucent", "smooth", "spiculated") if word in sample.question)
        count = sum(value in (finding.density, finding.margin) for finding in scene.findings)
        return next(word for word, number in NUMBERS.items() if number == count)
    if sample.topic == "larger":
        return max(named, key=lambda finding: finding.millimeters).quadrant
    if sample.topic == "diagnosis":
        largest = max(scene.findings, key=lambda finding: finding.millimeters)
        if largest.margin == "spiculated":
            return "malignant" if largest.millimeters > MALIGNANT_OVER else "benign"
        return "cyst" if largest.density == "lucent" else "benign"
    assert before is not None
    change = named[0].millimeters - _named(sample.question, before)[0].millimeters
    return "stable" if not change else "grown" if change > 0 else "shrunk"


@EVERY_SPLIT
def test_gold_answers_are_those_of_the_scene(split: testbed.Split) -> None:
    for sample in testbed.samples(split, 1500):
        item = testbed.item_of(sample.id)
        assert _answer(sample, item.scene, item.question.before) == sample.answer, sample
        sizes = sorted(finding.millimeters for finding in item.scene.findings)
        assert sample.topic != "diagnosis" or sizes[-1] > sizes[-2]  # else "the largest" is ambiguous


@EVERY_TOPIC
def test_reasoning_has_the_steps_of_its_topic_and_ends_with_the_answer(topic: str) -> None:
    chosen = [sample for sample in testbed.samples("train", 900) if sample.topic == topic]
    for sample in chosen:
        assert sample.explanation.endswith(f" is {sample.answer}.")
        assert len(sample.explanation.split()) <= 40
        reference = prompt.reference_completion(prompt.family("reasoning"), sample)
        assert reference.endswith(f"<answer>{sample.written_answer}</answer>")
    steps = {stratum(sample, "steps") for sample in chosen}
    assert steps == {str(TOPICS[topic].steps)}


def test_only_a_question_about_a_change_has_an_earlier_image() -> None:
    for sample in testbed.samples("test", 300):
        assert len(sample.images) == (2 if sample.topic == "change" else 1)
        if sample.topic != "change":
            with pytest.raises(DataError):
                testbed.open_image(f"{sample.id}/before")


def test_findings_are_where_and_as_dense_as_stated() -> None:
    for sample in testbed.samples("test", 400):
        scene = testbed.item_of(sample.id).scene
        if scene.modality == "ultrasound" or "wire" in scene.distractors:
            continue  # speckle and wires have other levels than tissue
        grey = pixels(sample.images[-1])[:, :, 0]
        for finding in scene.findings:
            rows = slice(30, 38) if finding.quadrant.startswith("upper") else slice(74, 82)
            columns = slice(30, 38) if finding.quadrant.endswith("left") else slice(74, 82)
            level = grey[rows, columns].mean()
            assert (level > 115) == (finding.density == "dense") or finding.millimeters * scene.scale < 130, sample.id


def test_boxes_enclose_the_findings_and_little_else() -> None:
    for sample in testbed.box_samples("test", 60):
        item, grey = testbed.item_of(sample.id), pixels(sample.images[0])[:, :, 0]
        boxes, _ = parse_boxes(sample.answer)
        assert boxes is not None
        assert len(boxes) == len(item.scene.findings)
        for box, finding in zip(boxes, item.scene.findings, strict=True):
            left, top, right, bottom = map(int, box.corners)
            size = max(right - left, bottom - top)
            assert abs(size - finding.millimeters * item.scene.scale / 10) <= 1
            level = grey[
                (top + bottom) // 2 - 1 : (top + bottom) // 2 + 1, (left + right) // 2 - 1 : (left + right) // 2 + 1
            ]
            assert (level.mean() > 115) == (finding.density == "dense")


def test_a_finding_of_the_same_pixels_has_another_size_at_another_scale() -> None:
    # 8 mm at 15 pixels for 10 mm are as many pixels as 12 mm at 10 pixels: only the scale bar separates them.
    items = [testbed.item_of(sample.id) for sample in testbed.samples("test", 3000) if sample.topic == "size"]
    measured = {(item.scene.findings[0].millimeters, item.scene.scale) for item in items}
    assert {(8, 15), (12, 10)} <= measured
    bars = {
        item.scene.scale: (pixels(f"testbed/test/0/{index}")[107] > 240).sum()
        for index, item in enumerate(map(testbed.item_of, (f"testbed/test/0/{n}" for n in range(40))))
    }
    assert bars[15] > bars[10] > 0


@pytest.mark.parametrize(("dial", "expected"), [("marker", 0.9 + 0.1 / 4), ("style", 0.9 + 0.1 / 2)])
def test_a_shortcut_dial_sets_how_often_the_feature_agrees_in_training(dial: str, expected: float) -> None:
    dials = Dials.model_validate({dial: 0.9})
    chosen = testbed.samples("train", 3000, dials=dials)
    share = sum(stratum(sample, dial) == "agrees" for sample in chosen) / len(chosen)
    assert abs(share - expected) < 0.02
    assert testbed.samples("test", 50, dials=dials) == testbed.samples("test", 50)
    assert testbed.samples("unseen", 50, dials=dials) == testbed.samples("unseen", 50)


def test_the_marker_is_in_the_corner_that_the_stratum_says() -> None:
    corners = {"upper left": (7, 7), "upper right": (7, 105), "lower left": (105, 7), "lower right": (105, 105)}
    for sample in testbed.samples("train", 200, dials=Dials(marker=0.5)):
        item, topic = testbed.item_of(sample.id), TOPICS[sample.topic]
        grey = pixels(sample.images[-1])[:, :, 0]
        bright = [corner for corner, place in corners.items() if grey[place] > 230]
        assert bright == [item.scene.marker]
        agrees = list(corners).index(bright[0]) == topic.answers.index(sample.answer) % 4
        assert stratum(sample, "marker") == ("agrees" if agrees else "misleads")


def test_the_dial_prior_makes_the_first_answer_frequent() -> None:
    chosen = testbed.samples("train", 3000, dials=Dials(prior=0.8))
    share = sum(sample.answer == TOPICS[sample.topic].answers[0] for sample in chosen) / len(chosen)
    assert 0.84 < share < 0.91  # 0.8, and a second to a quarter of the others


def test_label_noise_changes_answers_and_nothing_else() -> None:
    noisy = testbed.samples("train", 2000, dials=Dials(label_noise=0.3))
    wrong = 0
    for sample in noisy:
        item = testbed.item_of(sample.id)
        is_right = _answer(sample, item.scene, item.question.before) == sample.answer
        wrong += not is_right
        assert sample.answer in TOPICS[sample.topic].answers
        assert sample.explanation.endswith(f" is {item.question.answer}.")
    assert 0.26 < wrong / len(noisy) < 0.34


def test_explanations_are_complete_in_part_or_missing() -> None:
    chosen = testbed.samples("train", 2000, dials=Dials(unexplained=0.3, part_explained=0.2))
    lengths = Counter(
        "none" if not sample.explanation else "all" if sample.explanation.endswith(f" is {sample.answer}.") else "part"
        for sample in chosen
        if sample.topic != "modality"
    )
    shares = {name: count / lengths.total() for name, count in lengths.items()}
    assert abs(shares["none"] - 0.3) < 0.04
    assert abs(shares["part"] - 0.2) < 0.04


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "testbed/test/0",
        "testbed/dev/0/1",
        "testbed/test/0/01",
        "testbed/test/0/4294967296",
        "testbed/train/0/1/marker=2",
        "testbed/train/0/1/marker=0.50",
        "testbed/train/0/1/prior=0.5,marker=0.5",
        "testbed/train/0/1/unknown=0.5",
        "testbed/train/0/1/marker=",
        "testbed/train/0/1/=",
        "testbed/train/0/1/marker=nan",
        "testbed/train/0/1/before/before",
        "testbed/train/0/1\n",
        "phantom/train/0/1",
        "../testbed/train/0/1",
    ],
)
def test_a_malformed_reference_is_a_data_error(reference: str) -> None:
    with pytest.raises(DataError) as caught:
        testbed.open_image(reference)
    assert repr(reference) in caught.value.what


@given(st.text())
def test_any_text_is_a_data_error(reference: str) -> None:
    with pytest.raises(DataError):
        testbed.open_image(reference)


@pytest.mark.parametrize(("split", "count", "seed"), [("dev", 1, 0), ("train", 1, -1), ("train", 1, 2**32)])
def test_an_unknown_split_or_seed_is_a_data_error(split: Any, count: int, seed: int) -> None:
    with pytest.raises(DataError):
        testbed.samples(split, count, seed)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.sampled_from(testbed.SPLITS))
def test_any_index_of_the_stream_is_a_valid_sample(seed: int, index: int, split: testbed.Split) -> None:
    sample = testbed.sample_of(f"testbed/{split}/{seed}/{index}")
    assert all(testbed.open_image(reference).size == (112, 112) for reference in sample.images)
