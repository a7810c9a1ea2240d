"""The warning about held-out parts that cannot measure an accuracy."""

import pytest

from lowmed.data.dataset import DataSet
from lowmed.data.split import DataSplit, split_data
from lowmed.evaluation.intervals import wilson
from lowmed.evaluation.split_size import describe_split, half_width
from lowmed.recipe import DataSpec
from lowmed.sample import Sample


def split(questions: int, per_group: int) -> DataSplit:
    samples = tuple(
        Sample(str(number), "Is it?", "yes", "closed", f"p{number // per_group}", "s") for number in range(questions)
    )
    return split_data(DataSet("s", {"train": samples}, (), lambda _: pytest.fail("no images")), DataSpec(source="s"), 0)


@pytest.mark.parametrize("n", [4, 20, 100, 1000])
def test_the_width_is_that_of_the_wilson_interval(n: int) -> None:
    low, high = wilson(n // 2, n)
    assert half_width(n) == pytest.approx((high - low) / 2, abs=1e-4)


def test_a_small_part_is_named_with_its_interval() -> None:
    assert describe_split(split(120, 2))[-1] == (
        "held-out is small: the 95 % interval of an accuracy of 0.5 would be 0.5 ± 0.19, "
        "up to 0.5 ± 0.25 if a group's answers are alike"
    )
    assert describe_split(split(120, 1))[-1].endswith("would be 0.5 ± 0.19")


def test_a_large_part_has_no_warning() -> None:
    assert not any("small" in line for line in describe_split(split(600, 1)))
