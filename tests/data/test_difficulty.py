"""The difficulty filter: which questions a recipe trains on, and in which order."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from lowmed.data.difficulty import filter_by_difficulty
from lowmed.data.load import load
from lowmed.data.split import split_data, training_questions_only
from lowmed.engine import training_data
from lowmed.errors import DataError
from lowmed.nano import phantom
from lowmed.recipe import DataSpec
from lowmed.sample import Sample

SAMPLES = tuple(phantom.samples("train", 12))
REMOVED = {"never probed": range(5, 12), "never right": [0], "always right": [1], "too easy": [4]}


def probed(folder: Path, correct: dict[int, int]) -> DataSpec:
    file = folder / "difficulty.jsonl"
    lines = [{"id": SAMPLES[at].id, "completions": 16, "correct": count} for at, count in correct.items()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return DataSpec(source="phantom", difficulty=str(file))


def places(samples: tuple[Sample, ...]) -> list[int]:
    return [SAMPLES.index(sample) for sample in samples]


def test_without_a_file_every_question_is_kept() -> None:
    assert filter_by_difficulty(SAMPLES, DataSpec(source="phantom")).kept == SAMPLES


def test_questions_that_are_unprobed_or_never_always_or_too_often_right_are_left_out(tmp_path: Path) -> None:
    spec = probed(tmp_path, {0: 0, 1: 16, 2: 1, 3: 7, 4: 8})
    assert places(filter_by_difficulty(SAMPLES, spec).kept) == [2, 3, 4]
    seven = spec.model_copy(update={"max_pass_rate": 0.4375})  # 7 of 16
    selection = filter_by_difficulty(SAMPLES, seven)
    assert places(selection.kept) == [2, 3]
    left_out = {reason: [SAMPLES[at].id for at in places] for reason, places in REMOVED.items()}
    assert {reason: list(names) for reason, names in selection.left_out.items()} == left_out
    [counts, order] = selection.describe(seven)
    reasons = "7 never probed, 1 never right, 1 always right, 1 too easy"
    assert counts == f"2 training questions, 10 left out by {spec.difficulty}: {reasons}"
    assert order == "order shuffled"


def test_a_file_of_only_too_easy_questions_is_refused(tmp_path: Path) -> None:
    spec = probed(tmp_path, dict.fromkeys(range(11), 15)).model_copy(update={"max_pass_rate": 0.5})
    with pytest.raises(DataError, match="too easy, or was never probed"):
        filter_by_difficulty(SAMPLES, spec)


def test_easy_to_hard_sorts_by_pass_counts_and_shuffles_equal_ones(tmp_path: Path) -> None:
    counts = {0: 3, 1: 9, 2: 12, 3: 9, 4: 9, 5: 9, 6: 9, 7: 9}
    spec = probed(tmp_path, counts).model_copy(update={"order": "easy_to_hard"})
    ordered = places(filter_by_difficulty(SAMPLES, spec).kept)
    assert (ordered[0], ordered[-1], len(ordered)) == (2, 0, 8)
    assert sorted(ordered[1:-1]) == [1, 3, 4, 5, 6, 7]
    assert ordered[1:-1] != [1, 3, 4, 5, 6, 7]
    assert places(filter_by_difficulty(SAMPLES, spec).kept) == ordered


def test_an_ordered_schedule_repeats_the_samples_in_their_order() -> None:
    planned = training_data.schedule(SAMPLES, 24, 4, 0, in_order=True)
    assert [row.sample for row in planned] == [*SAMPLES, *SAMPLES]


@pytest.mark.parametrize("wrong", [{"order": "easy_to_hard"}, {"max_pass_rate": 0.5}])
def test_order_and_max_pass_rate_need_a_difficulty_file(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"set data\.difficulty"):
        DataSpec.model_validate({"source": "phantom", **wrong})


def test_a_modality_filter_affects_training_rows_only() -> None:
    data_split = split_data(load("phantom"), DataSpec(source="phantom", split_by="official", modality="MRI"), 0)
    assert {sample.modality for sample in data_split.train} == {"MRI"}
    assert {sample.modality for sample in data_split.held_out["test"]} == {"CT", "MRI", "X-ray"}
    with pytest.raises(DataError, match="no training row has the modality `PET`") as caught:
        split_data(load("phantom"), DataSpec(source="phantom", modality="PET"), 0)
    assert "CT, MRI, X-ray" in caught.value.fix


def test_a_probe_uses_training_questions_only() -> None:
    data_split = split_data(load("phantom"), DataSpec(source="phantom", split_by="auto"), 0)
    probed_split = training_questions_only(data_split, 7)
    assert probed_split.held_out == {"train": data_split.train[:7]}
    assert (probed_split.train, probed_split.stamp("train")) == ((), "")


@pytest.mark.parametrize(
    "line", ['{"id": "1"}', '{"id": "1", "completions": 0, "correct": 0}', '{"id": "1", "complet', "[]", '"text"', "7"]
)
def test_a_line_that_cannot_be_parsed_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "difficulty.jsonl"
    file.write_text(f'{{"id": "{SAMPLES[0].id}", "completions": 4, "correct": 1}}\n{line}\n')
    with pytest.raises(DataError, match="cannot parse this line") as caught:
        filter_by_difficulty(SAMPLES, DataSpec(source="phantom", difficulty=str(file)))
    assert caught.value.where == f"{file}:2"


def test_a_difficulty_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "difficulty.jsonl"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        filter_by_difficulty(SAMPLES, DataSpec(source="phantom", difficulty=str(file)))
