"""Which questions label images, and what classifiers of features and pixels say about them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lowmed.evaluation.vision_probe import Labeled, labeled_questions, measure, verdict
from lowmed.sample import Kind, Sample


def sample(
    number: int, answer: str, question: str = "Is there a mass?", kind: Kind = "closed", **fields: object
) -> Sample:
    values = {"group": f"g{number}", "images": (f"{number}.png",)} | fields
    return Sample(str(number), question, answer, kind, source="made", **values)  # type: ignore[arg-type]


def choice(number: int, options: tuple[str, str], question: str) -> Sample:
    return sample(number, options[number // 2 % 2], question, "choice", options=options)


def labeled(classes: list[str], groups: list[str] | None = None) -> Labeled:
    groups = groups or [f"g{number}" for number in range(len(classes))]
    samples = [
        sample(number, name, group=group) for number, (name, group) in enumerate(zip(classes, groups, strict=True))
    ]
    return Labeled("Is there a mass?", tuple(samples), tuple(classes))


def noise(rows: int, columns: int = 24, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)


def test_a_question_with_two_frequent_answers_is_a_classification() -> None:
    samples = [sample(number, ("yes", "No", "Yes.")[number % 3]) for number in range(33)]
    [question] = labeled_questions(samples)
    assert sorted(set(question.classes)) == ["no", "yes"]
    assert len(question.samples) == 33


def test_spelling_of_a_question_does_not_matter_and_its_options_do() -> None:
    wordings = ("which modality?", "Which  Modality?")
    same = [choice(n, ("CT", "MRI"), wordings[n % 2]) for n in range(40)]
    other = [choice(100 + n, ("CT", "PET"), wordings[0]) for n in range(20)]
    assert [len(question.samples) for question in labeled_questions(same + other)] == [40, 20]


def test_rare_answers_single_answers_and_samples_without_one_image_are_left_out() -> None:
    usual = [sample(n, ("left", "right")[n % 2], "Which side?", "open") for n in range(40)]
    rare = [sample(100 + n, "upper left", "Which side?", "open") for n in range(9)]
    constant = [sample(200 + n, "yes", "Is it an image?") for n in range(40)]
    none = [sample(300 + n, ("left", "right")[n % 2], "Which side?", "open", images=()) for n in range(40)]
    free = [sample(400 + n, ("a text", "another text")[n % 2], "Describe it.", "text") for n in range(40)]
    one_patient = [sample(500 + n, ("yes", "no")[n % 2], "Is it old?", group=f"p{n % 2}") for n in range(40)]
    [question] = labeled_questions(usual + rare + constant + none + free + one_patient)
    assert (question.question, len(question.samples)) == ("Which side?", 40)


def test_features_that_hold_the_answer_are_seen_and_noise_is_not() -> None:
    question = labeled(["yes" if number % 3 else "no" for number in range(120)])
    telling = noise(120)
    telling[:, 3] = [name == "yes" for name in question.classes]
    target = measure(question, telling, noise(120, seed=2))
    assert target.linear.value > 0.9
    assert target.pixels_linear.by_image[0] < target.chance == 0.5
    assert target.linear_gain.by_image[0] > 0
    assert verdict(target) == "seen"
    assert verdict(measure(question, noise(120), telling)) == "not seen"


def test_an_answer_that_pixels_show_as_well_is_named_so() -> None:
    question = labeled(["yes" if number % 2 else "no" for number in range(100)])
    telling = noise(100)
    telling[:, 3] = [2 * (name == "yes") for name in question.classes]
    target = measure(question, telling, telling)
    assert (target.linear_gain.value, verdict(target)) == (0, "seen, as by pixels")
    low, high = target.linear_gain.by_image
    assert low < 0 < high


def test_recognizing_a_patient_does_not_pay() -> None:
    # Ten images of each patient look alike and have the patient's label; between patients there is nothing to learn.
    patients = np.repeat(np.arange(24), 10)
    labels = np.random.default_rng(3).permutation(["yes", "no"] * 12)[patients]
    alike = noise(24, seed=4)[patients] + 0.01 * noise(240, seed=5)
    target = measure(labeled(list(labels), [f"p{patient}" for patient in patients]), alike, alike)
    assert target.linear.by_image[0] < 0.5 and target.neighbors.by_image[0] < 0.5
    assert verdict(target) == "not seen"


def test_a_majority_answer_is_not_a_figure_above_chance() -> None:
    question = labeled(["yes" if number % 10 else "no" for number in range(300)])
    target = measure(question, noise(300), noise(300, seed=2))
    assert target.linear.value == pytest.approx(0.5, abs=0.13)
    assert verdict(target) == "not seen"
