"""The identity of data: equal on every machine for equal rows, and every change is named."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lowmed.data.dataset import DataSet
from lowmed.data.identity import changes
from lowmed.data.run_identity import (
    ROWS,
    data_changes,
    keep_earlier_data,
    rows_of_start,
    store_data,
    store_start,
    warn_of_earlier_data,
    warnings_of_start,
)
from lowmed.data.split import HELD_OUT, split_data
from lowmed.errors import RunError
from lowmed.recipe import DataSpec
from lowmed.sample import Sample

ROWS_OF_PATIENTS = tuple(
    Sample(
        str(number), "Is there a mass?", "no" if number % 3 else "yes", "closed", f"p{number // 2}", "s", (f"{number}",)
    )
    for number in range(40)
)


def data(samples: tuple[Sample, ...] = ROWS_OF_PATIENTS, pixels: dict[str, str] | None = None) -> DataSet:
    return DataSet("s", {"train": samples}, (), lambda _: Image.new("L", (28, 28)), pixels=pixels or {})


def edited(**fields: object) -> tuple[Sample, ...]:
    return (*ROWS_OF_PATIENTS[:7], replace(ROWS_OF_PATIENTS[7], **fields), *ROWS_OF_PATIENTS[8:])  # type: ignore[arg-type]


def test_other_pseudonyms_ids_order_and_names_of_images_change_nothing() -> None:
    elsewhere = tuple(
        replace(
            row, id=f"x{row.id}", group=f"secret {row.group}", images=(f"{row.images[0]}.png",), strata=(("a", "b"),)
        )
        for row in reversed(ROWS_OF_PATIENTS)
    )
    here, there = data(), data(elsewhere, {f"{number}.png": str(number) for number in range(40)})
    assert here.digest == there.digest
    assert changes(here.rows, there.rows) == []


@pytest.mark.parametrize(
    ("samples", "line"),
    [
        (ROWS_OF_PATIENTS[1:], "1 row removed: 0"),
        ((*ROWS_OF_PATIENTS, replace(ROWS_OF_PATIENTS[0], id="new", answer="no")), "1 row added: new"),
        (edited(answer="maybe"), "1 row with another question, answer or other text: 7"),
        (edited(explanation="Because."), "1 row with another question, answer or other text: 7"),
        (edited(images=("other",)), "1 row with other images: 7"),
        (edited(group="p9"), "4 rows grouped with other rows: 6, 7, 18 and 1 more"),
        (edited(id="new", answer="maybe"), "1 row with another question, answer or other text: new"),
        (edited(id="new", question="And this?", images=("other",)), "1 row added: new"),
        (ROWS_OF_PATIENTS[5:], "5 rows removed: 0, 1, 2 and 2 more"),
    ],
)
def test_every_change_is_named(samples: tuple[Sample, ...], line: str) -> None:
    assert data(samples).digest != data().digest
    assert line in changes(data().rows, data(samples).rows)


def test_changed_pixels_under_the_same_name_are_other_images() -> None:
    before, after = data(pixels={"7": "old"}), data(pixels={"7": "new"})
    assert changes(before.rows, after.rows) == ["1 row with other images: 7"]


def test_another_published_split_is_named() -> None:
    moved = replace(data(), splits={"train": ROWS_OF_PATIENTS[1:], "test": ROWS_OF_PATIENTS[:1]})
    assert changes(data().rows, moved.rows) == ["1 row in another published split: 0"]


def test_changed_data_and_another_split_are_noticed(tmp_path: Path) -> None:
    spec = DataSpec(source="s")
    split = split_data(data(), spec, 0)
    with pytest.raises(RunError, match="does not say which data"):
        data_changes(tmp_path, split)
    store_data(tmp_path, split)
    assert data_changes(tmp_path, split) == []
    assert data_changes(tmp_path, split_data(data(ROWS_OF_PATIENTS[::-1]), spec, 0)) == []
    [line] = data_changes(tmp_path, split_data(data(), spec, 1))
    assert "in another part of the run's split" in line
    assert warn_of_earlier_data(tmp_path, split, changed=False).stamp(HELD_OUT) == ""
    (tmp_path / ROWS).write_text('{"id": "1"}\n')
    with pytest.raises(RunError, match="a row of the run's data is damaged"):
        data_changes(tmp_path, split)


def test_a_split_of_changed_data_counts_the_questions_that_were_trained_on_before(tmp_path: Path) -> None:
    spec = DataSpec(source="s")
    first, second = split_data(data(), spec, 0), split_data(data(ROWS_OF_PATIENTS[2:]), spec, 0)
    store_data(tmp_path, first)
    trained = {row.images for row in first.train}
    seen = sum(row.images in trained for row in second.held_out[HELD_OUT])
    assert seen > 0
    warning = (
        f"; the data changed; {seen} of its {len(second.held_out[HELD_OUT])} questions or images were trained on before"
    )
    assert warn_of_earlier_data(tmp_path, second, changed=True).stamp(HELD_OUT) == warning
    keep_earlier_data(tmp_path)
    store_data(tmp_path, second)
    assert data_changes(tmp_path, second) == []
    assert warn_of_earlier_data(tmp_path, second, changed=False).stamp(HELD_OUT) == warning  # for ever


def test_held_out_questions_that_the_starting_adapter_was_trained_on_are_stated(tmp_path: Path) -> None:
    spec = DataSpec(source="s")
    first, same, other = (split_data(data(), spec, seed) for seed in (0, 0, 1))
    (tmp_path / "first" / "adapter").mkdir(parents=True)
    store_data(tmp_path / "first", first)
    rows = rows_of_start(str(tmp_path / "first"))
    assert rows == rows_of_start(str(tmp_path / "first" / "adapter"))
    assert {row.id for row in rows} == {sample.id for sample in first.train}
    assert warnings_of_start(rows, same) == {}
    trained = {sample.images for sample in first.train}
    seen = sum(sample.images in trained for sample in other.held_out[HELD_OUT])
    assert seen > 0
    warning = f"the starting adapter was trained on {seen} of its {len(other.held_out[HELD_OUT])} questions or images"
    assert warnings_of_start(rows, other) == {HELD_OUT: warning}
    (tmp_path / "second").mkdir()
    store_data(tmp_path / "second", other)
    store_start(tmp_path / "second", rows)
    assert warn_of_earlier_data(tmp_path / "second", other, changed=False).stamp(HELD_OUT) == f"; {warning}"
    # A third run, whose split is that of the first one, starts from the second: the first run's training counts too.
    after_both = warnings_of_start(rows_of_start(str(tmp_path / "second")), other)
    assert after_both == {HELD_OUT: warning}


def test_the_training_of_an_adapter_without_a_run_is_unknown(tmp_path: Path) -> None:
    assert rows_of_start(None) == rows_of_start(str(tmp_path)) == rows_of_start("owner/adapter") == []


def test_a_removed_and_an_added_row_without_images_are_not_one_edited_row() -> None:
    before = tuple(replace(row, images=(), question=f"Is it {row.id}?") for row in ROWS_OF_PATIENTS)
    after = (*before[1:], replace(before[0], id="new", question="And this?"))
    assert changes(data(before).rows, data(after).rows) == ["1 row removed: 0", "1 row added: new"]
