"""Balanced draws: each value equally often, and no row drawn much more often than the others."""

import random
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.data.balance import (
    MAX_REPEATS,
    balanced_epochs,
    balanced_shares,
    cell_shares,
    describe_balance,
    require_property,
)
from lowmed.errors import DataError
from lowmed.sample import Kind, Sample


def sample(number: int, answer: str = "yes", modality: str = "", kind: Kind = "closed", site: str = "") -> Sample:
    strata = (("site", site),) if site else ()
    return Sample(str(number), "Is it?", answer, kind, str(number), "made", modality=modality, strata=strata)


def drawn(samples: list[Sample], name: str, epochs: int) -> list[Sample]:
    every = islice(balanced_epochs(samples, name, random.Random(0)), epochs)
    return [samples[number] for epoch in every for number in epoch]


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 500), min_size=1))
def test_shares_add_up_and_none_is_above_its_limit(counts: dict[str, int]) -> None:
    shares = balanced_shares(counts)
    total = sum(counts.values())
    assert sum(shares.values()) == pytest.approx(1)
    limits = {value: MAX_REPEATS * rows / total for value, rows in counts.items()}
    assert all(shares[value] <= limits[value] + 1e-9 for value in counts)
    below = [share for value, share in shares.items() if share < limits[value] - 1e-9]
    assert max(below, default=0) - min(below, default=0) < 1e-9, "values below their limit have one share"


def test_frequent_values_come_equally_often_and_a_rare_one_is_limited() -> None:
    samples = [sample(n, modality="CT") for n in range(70)] + [sample(70 + n, modality="MRI") for n in range(29)]
    samples.append(sample(99, modality="US"))
    rows = drawn(samples, "modality", 50)
    counts = Counter(row.modality for row in rows)
    assert counts["US"] == MAX_REPEATS * 50
    assert counts["CT"] == counts["MRI"] == 48 * 50
    by_row = Counter(row.id for row in rows)
    assert max(by_row[str(n)] for n in range(70)) - min(by_row[str(n)] for n in range(70)) <= 1


def test_answers_are_balanced_within_each_kind() -> None:
    samples = [sample(n, "yes" if n % 5 else "No") for n in range(50)]
    samples += [sample(50 + n, f"finding {n}", kind="open") for n in range(50)]
    counts = Counter((row.kind, row.answer) for row in drawn(samples, "answer", 20))
    assert counts["closed", "yes"] == counts["closed", "No"] == 500
    assert sum(count for (kind, _), count in counts.items() if kind == "open") == 1000


def test_rows_without_a_value_keep_their_share() -> None:
    samples = [sample(n) for n in range(40)] + [sample(40 + n, site="A") for n in range(50)]
    samples += [sample(90 + n, site="B") for n in range(10)]
    assert cell_shares(samples, "site") == pytest.approx({("without", ""): 0.4, ("", "A"): 0.3, ("", "B"): 0.3})
    assert "without site 0.400" in describe_balance(samples, "site")[0]


@given(st.lists(st.sampled_from("AABC"), min_size=1, max_size=40), st.integers(0, 3))
def test_an_epoch_has_as_many_draws_as_rows(sites: list[str], seed: int) -> None:
    samples = [sample(n, site=site) for n, site in enumerate(sites)]
    epochs = list(islice(balanced_epochs(samples, "site", random.Random(seed)), 6))
    assert all(len(epoch) == len(samples) for epoch in epochs)
    assert max(Counter(epochs[0]).values()) <= MAX_REPEATS + 1


def test_a_property_without_two_values_is_refused_with_the_columns_that_exist() -> None:
    samples = [replace(sample(n, site="AB"[n % 2]), modality="CT") for n in range(4)]
    require_property(samples, "site")
    for name in ("scanner", "modality"):
        with pytest.raises(DataError) as caught:
            require_property(samples, name)
        assert caught.value.fix == "use one of site, or leave data.balance out"
