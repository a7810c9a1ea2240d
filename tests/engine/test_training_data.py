from PIL import Image

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy
from lowmed.engine import training_data
from lowmed.nano import phantom

SAMPLES = phantom.samples("train", 10)


def test_rows_pass_over_all_samples_before_any_comes_again() -> None:
    planned = training_data.schedule(SAMPLES, 25, 4, seed=3)
    assert len(planned) == 25
    for start in (0, 10):
        assert {row.sample.id for row in planned[start : start + 10]} == {sample.id for sample in SAMPLES}


def test_rows_depend_on_the_seed_alone() -> None:
    assert training_data.schedule(SAMPLES, 25, 4, seed=3) == training_data.schedule(SAMPLES, 25, 4, seed=3)
    assert training_data.schedule(SAMPLES, 25, 4, seed=3) != training_data.schedule(SAMPLES, 25, 4, seed=4)
    assert training_data.schedule(SAMPLES, 30, 4, seed=3)[:25] == training_data.schedule(SAMPLES, 25, 4, seed=3)


def test_all_wordings_are_drawn() -> None:
    assert {row.wording for row in training_data.schedule(SAMPLES, 200, 4, seed=0)} == {0, 1, 2, 3}


def test_images_are_opened_when_a_row_is_read_and_once_only() -> None:
    opened: list[str] = []

    def open_image(reference: str) -> Image.Image:
        opened.append(reference)
        return phantom.picture(reference)

    planned = training_data.schedule(SAMPLES, 10, 4, seed=0)
    data = training_data.as_dataset(planned, prompt.family("diverse"), open_image, PixelPolicy(64), with_reference=True)
    assert len(data) == 10
    assert opened == []
    again = [data[0], data[0], data[1]]
    assert len(opened) == 2
    row = again[0]
    assert row["images"][0].mode == "RGB"
    assert row["prompt"] == prompt.build_messages(prompt.family("diverse"), planned[0].sample, planned[0].wording)
    assert row["completion"][0]["content"] == prompt.reference_completion(prompt.family("diverse"), planned[0].sample)
