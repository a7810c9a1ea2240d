"""Splits by group: no two parts share a patient or an image, and all have their exact shares."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowmed.data.group_split import by_group, connected_groups, draw, shared_images
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


fractions = st.sampled_from([{"train": 0.8, "test": 0.2}, {"train": 0.5, "test": 0.5}, {"train": 0.97, "test": 0.03}])


@given(rows, fractions, st.integers(0, 5))
@settings(max_examples=200)
def test_each_share_is_exact_within_the_size_of_the_largest_group(
    samples: list[Sample], shares: dict[str, float], seed: int
) -> None:
    try:
        parts = by_group(samples, shares, seed)
    except DataError:
        return
    largest = max(Counter(connected_groups(samples)[row.group] for row in samples).values())
    for name, share in shares.items():
        assert abs(len(parts[name]) - share * len(samples)) < largest


def test_a_fifth_of_120_images_is_24_for_every_seed() -> None:
    samples = [sample(number, f"patient {number}") for number in range(120)]
    for seed in range(6):
        parts = by_group(samples, {"train": 0.7, "dev": 0.1, "test": 0.2}, seed)
        assert {name: len(part) for name, part in parts.items()} == {"train": 84, "dev": 12, "test": 24}


def test_answers_kinds_and_modalities_have_their_shares_in_each_part() -> None:
    draws = random.Random(0)
    samples = [
        replace(
            sample(number, f"patient {number}"),
            answer=draws.choice(["yes", "yes", "no"]),
            modality=draws.choice(["CT", "CT", "CT", "MR"]),
        )
        for number in range(400)
    ]
    for seed in range(5):
        test = by_group(samples, {"train": 0.8, "test": 0.2}, seed)["test"]
        for name in ("answer", "modality"):
            counts = Counter(getattr(row, name) for row in samples)
            held_out = Counter(getattr(row, name) for row in test)
            assert all(abs(held_out[value] - count / 5) <= 2 for value, count in counts.items())


def test_large_groups_are_in_all_parts() -> None:
    samples = [
        sample(number * 100 + row, f"patient {number}") for number in range(100) for row in range(1 + number % 9)
    ]
    parts = by_group(samples, {"train": 0.8, "test": 0.2}, 0)
    sizes = Counter(row.group for row in samples)
    mean = {name: sum(sizes[row.group] for row in part) / len(part) for name, part in parts.items()}
    assert abs(mean["train"] - mean["test"]) < 1


def test_the_split_depends_on_content_and_seed_not_on_ids_groups_or_order() -> None:
    samples = [
        replace(sample(number, f"patient {number // 2}", f"{number}.png"), question=f"Is it {number % 7}?")
        for number in range(300)
    ]
    elsewhere = [replace(row, id=f"x{row.id}", group=f"pseudonym of {row.group}") for row in reversed(samples)]
    chosen = [{row.images for row in by_group(rows, HALVES, 1)["test"]} for rows in (samples, elsewhere)]
    assert chosen[0] == chosen[1]
    assert chosen[0] != {row.images for row in by_group(samples, HALVES, 2)["test"]}
    assert {row.images for row in draw(samples, 9, 3)} == {row.images for row in draw(elsewhere, 9, 3)}
    assert len(draw(samples, 9, 3)) == 9
    renamed = [replace(row, images=(f"{row.images[0]}.jpg",)) for row in samples]
    pixels = {f"{number}.png{suffix}": str(number) for number in range(300) for suffix in ("", ".jpg")}
    here, there = (by_group(rows, HALVES, 1, pixels)["test"] for rows in (samples, renamed))
    assert [row.id for row in here] == [row.id for row in there]


def test_every_part_gets_a_group_if_there_are_enough() -> None:
    two = [sample(1, "a"), sample(2, "b")]
    parts = by_group(two, {"train": 0.8, "test": 0.2}, 0)
    assert [len(part) for part in parts.values()] == [1, 1]


def test_groups_connected_by_shared_images_stay_together() -> None:
    chain = [sample(number, f"p{number}", f"{number}.png", f"{number + 1}.png") for number in range(40)]
    with pytest.raises(DataError, match="in 1 separate groups"):
        by_group(chain, HALVES, 0)
    assert len(by_group(chain, {"train": 1.0, "test": 0.0}, 0)["train"]) == 40


def test_an_empty_part_is_an_error() -> None:
    with pytest.raises(DataError, match="2 parts cannot be made: 0 samples"):
        by_group([], HALVES, 0)


@pytest.mark.parametrize("fractions", [{}, {"train": 0.8}, {"train": 1.2, "test": -0.2}, {"train": 80, "test": 20}])
def test_fractions_that_do_not_add_up_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match="add up"):
        by_group([sample(1, "a")], fractions, 0)


def test_shared_images_are_counted_by_reference() -> None:
    assert shared_images([sample(1, "a", "x", "y")], [sample(2, "b", "y", "z")]) == {"y"}
