"""How controls alter a question, and that they alter nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lowmed.evaluation.controls import choose_questions, conditions, flipped, reordered, shuffled
from lowmed.nano import phantom
from lowmed.sample import Sample

TEST = phantom.samples("test", 200)


def _sample(question: str, answer: str, options: tuple[str, ...] = ()) -> Sample:
    kind = "choice" if options else "open"
    return Sample("1", question, answer, kind, "g", "s", images=("i",), options=options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "answer", "options", "expected"),
    [
        ("Which side, left or right?", "left", (), ("Which side, left or right?", "right", ())),
        ("Is there a mass in the left lung?", "yes", (), ("Is there a mass in the right lung?", "yes", ())),
        ("Where is the mass?", "Upper Left lobe", (), ("Where is the mass?", "Upper Right lobe", ())),
        ("Where?", "LEFT", ("LEFT", "right", "both"), ("Where?", "RIGHT", ("RIGHT", "left", "both"))),
        ("What is in the left lung?", "right-sided line", (), ("What is in the right lung?", "left-sided line", ())),
    ],
)  # fmt: skip
def test_a_flip_exchanges_the_named_sides(
    question: str, answer: str, options: tuple[str, ...], expected: tuple[str, str, tuple[str, ...]]
) -> None:
    result = flipped(_sample(question, answer, options))
    assert result is not None
    assert (result.question, result.answer, result.options) == expected
    assert flipped(result) == _sample(question, answer, options)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is there a lesion?", "yes"),
        ("Are the left and the right lung clear?", "yes"),
        ("Which lobes?", "both"),
        ("What does the leftover bright spot show?", "calcium"),
    ],
)
def test_a_flip_skips_questions_without_a_single_side(question: str, answer: str) -> None:
    assert flipped(_sample(question, answer)) is None


def test_a_shuffled_image_has_the_same_modality_and_another_group() -> None:
    result = shuffled(TEST, TEST)
    assert len(result) == len(TEST)
    modality = {sample.images: sample.modality for sample in TEST}
    for before, after in zip(TEST, result, strict=True):
        assert after.images != before.images
        assert modality[after.images] == before.modality
        assert replace(after, images=before.images) == before
    assert len({sample.images for sample in result}) == len(TEST)  # each is used once


def test_images_of_one_patient_are_not_exchanged_within_it() -> None:
    rows = [replace(sample, group=f"patient {index // 4}", modality="") for index, sample in enumerate(TEST[:12])]
    owner = {row.images: row.group for row in rows}
    assert all(owner[after.images] != after.group for after in shuffled(rows, rows))
    alone = [replace(row, group="one") for row in rows]
    assert shuffled(alone, alone) == []


def test_a_reordered_choice_has_its_gold_answer_under_another_letter() -> None:
    choices = [sample for sample in TEST if sample.kind == "choice"]
    for sample in choices:
        after = reordered(sample)
        assert after is not None
        assert after.letter != sample.letter
        assert set(after.options) == set(sample.options)
    assert reordered(_sample("?", "yes")) is None


@given(st.integers(2, 8), st.text(min_size=1))
def test_every_number_of_options_can_be_reordered(number: int, name: str) -> None:
    options = tuple(map(str, range(number)))
    sample = Sample(name + "x", "?", options[-1], "choice", "g", "s", options=options)
    after = reordered(sample)
    assert after is not None
    assert after.letter != sample.letter


def test_questions_are_chosen_proportionally_and_deterministically() -> None:
    held_out = {"a": TEST[:150], "b": TEST[150:]}
    result = choose_questions(held_out, 40)
    assert {split: len(rows) for split, rows in result.items()} == {"a": 30, "b": 10}
    turned = choose_questions({split: rows[::-1] for split, rows in held_out.items()}, 40)
    assert turned == {split: rows[::-1] for split, rows in result.items()}
    assert choose_questions(held_out, 10_000) == {split: tuple(rows) for split, rows in held_out.items()}
    assert choose_questions({}, 5) == {}


def test_images_are_altered_in_memory() -> None:
    work = {condition.name: condition for condition in conditions("test", TEST[:20], TEST, phantom.open_image)}
    reference = TEST[0].images[0]
    before = phantom.open_image(reference)
    assert work["grey"].open_image(reference).getcolors() == [(before.width * before.height, (128, 128, 128))]
    assert work["flipped"].open_image(reference) == before.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert all(not sample.images for sample in work["blind"].samples)
    assert phantom.open_image(reference) == before
