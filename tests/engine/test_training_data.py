"""The order of training rows, and their dataset."""

from PIL import Image

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy
from lowmed.engine import training_data
from lowmed.nano import phantom

SAMPLES = phantom.samples("train", 10)


def test_an_epoch_has_every_sample_before_one_is_repeated() -> None:
    rows = training_data.schedule(SAMPLES, 25, 4, seed=3)
    assert len(rows) == 25
    for start in (0, 10):
        assert {row.sample.id for row in rows[start : start + 10]} == {sample.id for sample in SAMPLES}


def test_rows_depend_on_the_seed_only() -> None:
    assert training_data.schedule(SAMPLES, 25, 4, seed=3) == training_data.schedule(SAMPLES, 25, 4, seed=3)
    assert training_data.schedule(SAMPLES, 25, 4, seed=3) != training_data.schedule(SAMPLES, 25, 4, seed=4)
    assert training_data.schedule(SAMPLES, 30, 4, seed=3)[:25] == training_data.schedule(SAMPLES, 25, 4, seed=3)


def test_all_wordings_are_used() -> None:
    assert {row.wording for row in training_data.schedule(SAMPLES, 200, 4, seed=0)} == {0, 1, 2, 3}


def test_images_are_opened_once_when_a_row_is_read() -> None:
    opened: list[str] = []

    def open_image(reference: str) -> Image.Image:
        opened.append(reference)
        return phantom.open_image(reference)

    rows = training_data.schedule(SAMPLES, 10, 4, seed=0)
    data = training_data.as_dataset(rows, prompt.family("diverse"), open_image, PixelPolicy(64), with_completion=True)
    assert len(data) == 10
    assert opened == []
    read = [data[0], data[0], data[1]]
    assert len(opened) == 2
    row = read[0]
    assert row["images"][0].mode == "RGB"
    assert row["prompt"] == prompt.build_messages(prompt.family("diverse"), rows[0].sample, rows[0].wording)
    assert row["completion"][0]["content"] == prompt.reference_completion(prompt.family("diverse"), rows[0].sample)
