"""Phantom samples and images: reproducible, balanced, and consistent with their answers."""

import hashlib
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed import prompt
from lowmed.errors import DataError
from lowmed.nano import phantom
from lowmed.sample import Sample

EVERY_SPLIT = pytest.mark.parametrize("split", phantom.SPLITS)


def pixels(sample: Sample) -> bytes:
    return phantom.open_image(sample.images[0]).tobytes()


def digest_of(samples: list[Sample]) -> str:
    fields = ("id", "question", "answer", "kind", "group", "explanation", "modality", "topic", "images", "options")
    text = "\n".join(repr([getattr(sample, name) for name in fields]) for sample in samples)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_samples_are_the_same_on_every_machine() -> None:
    assert digest_of(phantom.samples("train", 200, seed=3)) == "7b19e7481b7eeccf"
    assert digest_of(phantom.samples("unseen", 200)) == "ab12ce0200171a04"


def test_pixels_are_the_same_on_every_machine() -> None:
    images = [pixels(sample) for split in phantom.SPLITS for sample in phantom.samples(split, 50)]
    assert hashlib.sha256(b"".join(images)).hexdigest()[:16] == "b899538795dd2828"


@EVERY_SPLIT
def test_a_larger_count_only_adds_samples_at_the_end(split: phantom.Split) -> None:
    assert phantom.samples(split, 40) == phantom.samples(split, 90)[:40]


def test_another_seed_gives_other_samples_and_images() -> None:
    first, second = phantom.samples("train", 50, seed=0), phantom.samples("train", 50, seed=1)
    assert not {sample.id for sample in first} & {sample.id for sample in second}
    assert not {pixels(sample) for sample in first} & {pixels(sample) for sample in second}


def test_splits_share_no_image_id_or_group() -> None:
    of_split = {split: phantom.samples(split, 400) for split in phantom.SPLITS}
    everything = [sample for samples in of_split.values() for sample in samples]
    assert len({sample.id for sample in everything}) == len(everything)
    assert len({sample.group for sample in everything}) == len(everything)
    assert len({pixels(sample) for sample in everything}) == len(everything)


def test_the_unseen_modality_is_in_the_unseen_split_only() -> None:
    for split in phantom.SPLITS:
        samples = phantom.samples(split, 1000)
        modalities = {sample.modality for sample in samples}
        assert modalities == ({"ultrasound"} if split == "unseen" else {"CT", "MRI", "X-ray"})
        if split != "unseen":
            assert not [sample for sample in samples if "ultrasound" in repr(sample).lower()]


def test_topics_are_equally_frequent_and_all_kinds_occur() -> None:
    samples = phantom.samples("train", 3000)
    share = {topic: count / len(samples) for topic, count in Counter(sample.topic for sample in samples).items()}
    assert set(share) == set(phantom.TOPICS)
    assert all(0.13 < part < 0.21 for part in share.values()), share
    assert {sample.kind for sample in samples} == {"closed", "open", "choice"}
    assert set(phantom.TOPICS) - {sample.topic for sample in phantom.samples("unseen", 500)} == {"modality"}


@EVERY_SPLIT
def test_the_habitual_answer_is_the_most_frequent_one_but_often_wrong(split: phantom.Split) -> None:
    samples = phantom.samples(split, 6000)
    for topic in {sample.topic for sample in samples}:
        answers = Counter(sample.answer for sample in samples if sample.topic == topic)
        habit = phantom.HABITS[topic]
        assert answers[habit] / answers.total() < 0.6
        # Of two answers with 52 and 48 % either may be more frequent in a thousand samples.
        assert answers[habit] >= 0.9 * max(answers.values())


def test_the_position_of_the_right_option_is_uniform() -> None:
    samples = [sample for sample in phantom.samples("train", 6000) if sample.kind == "choice"]
    for topic in ("size", "modality"):
        letters = Counter(sample.letter for sample in samples if sample.topic == topic)
        even = letters.total() / len(letters)
        assert all(0.85 * even < count < 1.15 * even for count in letters.values()), letters


@EVERY_SPLIT
def test_the_reference_completion_contains_the_gold_answer(split: phantom.Split) -> None:
    for sample in phantom.samples(split, 300):
        for name in ("reasoning", "direct"):
            answer = re.search(r"<answer>(.*)</answer>$", prompt.reference_completion(prompt.family(name), sample))
            assert answer is not None
            assert answer[1] == (sample.letter if sample.kind == "choice" else sample.answer)


@EVERY_SPLIT
def test_an_explanation_is_short_and_ends_with_the_answer(split: phantom.Split) -> None:
    for sample in phantom.samples(split, 600):
        assert sample.explanation.endswith(f" is {sample.answer}.")
        assert 8 <= len(sample.explanation.split()) <= 20, sample.explanation


def test_the_question_does_not_contain_the_answer() -> None:
    for sample in phantom.samples("train", 600):
        if sample.topic != "side":  # which names both sides
            assert sample.answer not in re.findall(r"[\w-]+", sample.question)


def test_a_lesion_has_the_place_and_size_of_the_explanation() -> None:
    rows, columns = {"upper": slice(0, 42), "lower": slice(42, 84)}, {"left": slice(0, 42), "right": slice(42, 84)}
    for sample in phantom.samples("pretrain", 800):
        result = re.search(r"one (small|medium|large) lesion in the (upper|lower) (left|right)", sample.explanation)
        if sample.modality != "X-ray" or result is None:  # the modality whose anatomy is never as bright as a lesion
            continue
        grey = np.asarray(phantom.open_image(sample.images[0])).astype(np.float64)[:, :, 0]
        bright = grey > (grey.max() + np.median(grey)) / 2
        in_quadrant = bright[rows[result[2]], columns[result[3]]].sum()
        assert in_quadrant > 0.7 * bright.sum(), sample
        low, high = {"small": (15, 75), "medium": (85, 200), "large": (220, 480)}[result[1]]
        assert low < in_quadrant < high, (sample, in_quadrant)


def test_images_are_84_pixels_wide_and_high_and_rgb() -> None:
    image = phantom.open_image("phantom/test/0/17")
    assert (image.size, image.mode) == ((84, 84), "RGB")


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "phantom",
        "phantom/test/0",
        "phantom/test/0/17/3",
        "phantom/dev/0/17",
        "phantom/test/-1/17",
        "phantom/test/0/017",
        "phantom/test/0/1.5",
        "phantom/test/0/4294967296",
        "phantom/test/0/٣",
        "phantom/test/0/17\n",
        " phantom/test/0/17",
        "PHANTOM/test/0/17",
        "../phantom/test/0/17",
    ],
)
def test_a_malformed_reference_is_a_data_error(reference: str) -> None:
    with pytest.raises(DataError) as caught:
        phantom.open_image(reference)
    assert repr(reference) in caught.value.what
    assert "phantom/SPLIT/SEED/INDEX" in caught.value.fix


@given(st.text())
def test_any_text_is_a_data_error(reference: str) -> None:
    with pytest.raises(DataError):
        phantom.open_image(reference)


@pytest.mark.parametrize(("split", "count", "seed"), [("dev", 1, 0), ("train", 1, -1), ("train", 1, 2**32)])
def test_an_unknown_split_or_seed_is_a_data_error(split: Any, count: int, seed: int) -> None:
    with pytest.raises(DataError):
        phantom.samples(split, count, seed)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.sampled_from(phantom.SPLITS))
def test_any_index_of_the_stream_is_a_valid_image(seed: int, index: int, split: phantom.Split) -> None:
    assert phantom.open_image(f"phantom/{split}/{seed}/{index}").size == (84, 84)
