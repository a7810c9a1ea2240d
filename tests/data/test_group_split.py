"""Splits by group: no two parts share a patient or an image, and later rows do not move others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.data.group_split import by_group, shared_images
from lowmed.errors import DataError, RecipeError
from lowmed.sample import Sample

HALVES = {"train": 0.5, "test": 0.5}


def sample(number: int, group: str, *images: str) -> Sample:
    return Sample(
        id=str(number), question="?", answer="a", kind="open", group=group, source="made", images=images or (group,)
    )


rows = st.lists(st.tuples(st.integers(0, 30), st.lists(st.integers(0, 40), max_size=3)), min_size=1, max_size=60).map(
    lambda pairs: [
        sample(number, f"patient {group}", *(f"{image}.png" for image in images))
        for number, (group, images) in enumerate(pairs)
    ]
)


@given(rows, st.integers(0, 5))
def test_no_two_parts_share_a_group_or_an_image(samples: list[Sample], seed: int) -> None:
    try:
        splits = by_group(samples, HALVES, seed)
    except DataError:
        return  # all groups are connected, or all are in one part
    assert shared_images(splits["train"], splits["test"]) == set()
    assert {row.group for row in splits["train"]}.isdisjoint(row.group for row in splits["test"])
    assert sorted(row.id for side in splits.values() for row in side) == sorted(row.id for row in samples)


def test_rows_added_later_do_not_move_others() -> None:
    first = [sample(number, f"patient {number}") for number in range(200)]
    more = [sample(number, f"patient {number}") for number in range(500)]
    before, after = by_group(first, HALVES, 1), by_group(more[::-1], HALVES, 1)
    for name in HALVES:
        assert set(before[name]) < set(after[name])


def test_fractions_hold_on_average_and_another_seed_gives_another_split() -> None:
    samples = [sample(number, f"patient {number}") for number in range(2000)]
    fractions = {"train": 0.7, "validation": 0.1, "test": 0.2}
    splits = by_group(samples, fractions, 0)
    for name, fraction in fractions.items():
        assert abs(len(splits[name]) / 2000 - fraction) < 0.03
    assert splits != by_group(samples, fractions, 1)
    assert splits == by_group(samples, fractions, 0)


def test_groups_connected_by_shared_images_stay_together() -> None:
    chain = [sample(number, f"p{number}", f"{number}.png", f"{number + 1}.png") for number in range(40)]
    with pytest.raises(DataError, match="in 1 separate groups"):
        by_group(chain, HALVES, 0)
    assert len(by_group(chain, {"train": 1.0, "test": 0.0}, 0)["train"]) == 40


def test_an_empty_part_is_an_error() -> None:
    with pytest.raises(DataError, match="split `train` would be empty"):
        by_group([], HALVES, 0)


@pytest.mark.parametrize("fractions", [{}, {"train": 0.8}, {"train": 1.2, "test": -0.2}, {"train": 80, "test": 20}])
def test_fractions_that_do_not_add_up_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match="add up"):
        by_group([sample(1, "a")], fractions, 0)


def test_shared_images_are_counted_by_reference() -> None:
    assert shared_images([sample(1, "a", "x", "y")], [sample(2, "b", "y", "z")]) == {"y"}
