"""The order of training rows, and their dataset."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy
from lowmed.engine import training_data
from lowmed.nano import phantom

SAMPLES = phantom.samples("train", 10)
MIXED = [
    replace(sample, source=name)
    for name, count in (("a", 10), ("b", 7), ("c", 3))
    for sample in phantom.samples("train", count, seed=len(name) + count)
]


def numbers(rows: list[training_data.TrainingRow]) -> list[tuple[int, int]]:
    return [(int(row.sample.id.rpartition("/")[2]), row.wording) for row in rows]


def test_the_rows_of_one_source_are_those_of_earlier_versions() -> None:
    assert numbers(training_data.schedule(SAMPLES, 16, 4, seed=3)) == [
        (1, 3), (5, 2), (6, 1), (0, 1), (9, 3), (4, 3), (7, 3), (2, 1),
        (8, 1), (3, 1), (2, 2), (3, 3), (4, 3), (9, 3), (1, 3), (7, 3),
    ]  # fmt: skip
    assert numbers(training_data.schedule(SAMPLES, 12, 4, seed=3, in_order=True)) == [
        (0, 1), (1, 1), (2, 2), (3, 3), (4, 0), (5, 0), (6, 3), (7, 2), (8, 1), (9, 1), (0, 3), (1, 3),
    ]  # fmt: skip


@given(
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.integers(1, 120),
    st.integers(0, 5),
    st.sampled_from([None, "topic", "answer"]),
)
def test_every_prefix_of_a_mixture_has_the_shares(
    weights: list[float], count: int, seed: int, balance: str | None
) -> None:
    shares = {name: weight / sum(weights) for name, weight in zip("abc", weights, strict=True)}
    rows = training_data.schedule(MIXED, count, 4, seed, shares=shares, balance=balance)
    assert len(rows) == count
    for length in range(1, count + 1):
        drawn = Counter(row.sample.source for row in rows[:length])
        assert all(abs(drawn[name] - share * length) < 1 + 1e-6 for name, share in shares.items())
    assert training_data.schedule(MIXED, count + 9, 4, seed, shares=shares, balance=balance)[:count] == rows


def test_each_source_of_a_mixture_has_its_own_epochs() -> None:
    rows = training_data.schedule(MIXED, 60, 4, 0, shares={"a": 0.5, "b": 0.3, "c": 0.2})
    for name, size in (("a", 10), ("b", 7), ("c", 3)):
        of_source = [row.sample.id for row in rows if row.sample.source == name]
        epochs = [of_source[start : start + size] for start in range(0, len(of_source) - size + 1, size)]
        assert all(len(set(epoch)) == size for epoch in epochs)
        assert epochs[0] != epochs[1], "an epoch is shuffled again"
    assert {row.wording for row in rows} == {0, 1, 2, 3}


def test_a_mixture_keeps_the_order_from_easy_to_hard_within_each_source() -> None:
    rows = training_data.schedule(MIXED, 20, 4, 0, shares={"a": 0.5, "b": 0.35, "c": 0.15}, in_order=True)
    for name in "abc":
        given_order = [sample.id for sample in MIXED if sample.source == name]
        assert [row.sample.id for row in rows if row.sample.source == name][:3] == given_order[:3]


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
