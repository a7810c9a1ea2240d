"""Which questions a recipe trains on by their pass counts, and in which order."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from lowmed.data.load import load
from lowmed.data.split import split_data, training_questions_only
from lowmed.engine import training_data
from lowmed.errors import DataError
from lowmed.evaluate.difficulty import chosen
from lowmed.nano import phantom
from lowmed.recipe import DataSpec
from lowmed.sample import Sample

SAMPLES = tuple(phantom.samples("train", 12))


def probed(folder: Path, right: dict[int, int]) -> DataSpec:
    file = folder / "difficulty.jsonl"
    lines = [{"id": SAMPLES[at].id, "replies": 16, "right": count} for at, count in right.items()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return DataSpec(source="phantom", difficulty=str(file))


def places(samples: tuple[Sample, ...]) -> list[int]:
    return [SAMPLES.index(sample) for sample in samples]


def test_without_a_file_every_question_is_trained_on() -> None:
    assert chosen(SAMPLES, DataSpec(source="phantom"), 0) == SAMPLES


def test_what_is_always_never_or_too_often_right_is_left_out(tmp_path: Path) -> None:
    spec = probed(tmp_path, {0: 0, 1: 16, 2: 1, 3: 7, 4: 8})
    assert places(chosen(SAMPLES, spec, 0)) == [2, 3, 4, *range(5, 12)]
    half = spec.model_copy(update={"max_pass_rate": 0.4375})  # 7 of 16
    assert places(chosen(SAMPLES, half, 0)) == [2, 3, *range(5, 12)]


def test_too_easy_questions_alone_are_told(tmp_path: Path) -> None:
    spec = probed(tmp_path, dict.fromkeys(range(12), 15)).model_copy(update={"max_pass_rate": 0.5})
    with pytest.raises(DataError, match="too easy"):
        chosen(SAMPLES, spec, 0)


def test_easy_to_hard_sorts_by_pass_counts_and_ties_by_seed(tmp_path: Path) -> None:
    spec = probed(tmp_path, {0: 3, 1: 9, 2: 12, 3: 9, 4: 9, 5: 9}).model_copy(update={"order": "easy_to_hard"})
    ordered = places(chosen(SAMPLES, spec, 0))
    assert ordered[0] == 2
    assert set(ordered[1:5]) == {1, 3, 4, 5}
    assert ordered[5] == 0  # never probed ones come last
    assert chosen(SAMPLES, spec, 0) == chosen(SAMPLES, spec, 0)
    assert len({tuple(places(chosen(SAMPLES, spec, seed))[1:5]) for seed in range(9)}) > 1


def test_rows_in_order_take_the_samples_as_they_stand_in_every_pass() -> None:
    planned = training_data.schedule(SAMPLES, 24, 4, 0, in_order=True)
    assert [row.sample for row in planned] == [*SAMPLES, *SAMPLES]


@pytest.mark.parametrize("wrong", [{"order": "easy_to_hard"}, {"max_pass_rate": 0.5}])
def test_pass_counts_are_needed_where_something_goes_by_them(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"set data\.difficulty"):
        DataSpec.model_validate({"source": "phantom", **wrong})


def test_one_modality_is_trained_on_and_all_are_still_measured() -> None:
    data_split = split_data(load("phantom"), DataSpec(source="phantom", split_by="official", modality="MRI"), 0)
    assert {sample.modality for sample in data_split.train} == {"MRI"}
    assert {sample.modality for sample in data_split.held_out["test"]} == {"CT", "MRI", "X-ray"}
    with pytest.raises(DataError, match="no training row has the modality `PET`") as caught:
        split_data(load("phantom"), DataSpec(source="phantom", modality="PET"), 0)
    assert "CT, MRI, X-ray" in caught.value.fix


def test_support_is_measured_on_training_questions_alone() -> None:
    data_split = split_data(load("phantom"), DataSpec(source="phantom", split_by="auto"), 0)
    asked = training_questions_only(data_split, 7)
    assert asked.held_out == {"train": data_split.train[:7]}
    assert (asked.train, asked.stamp("train")) == ((), "")
