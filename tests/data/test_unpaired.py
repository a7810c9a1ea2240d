"""The labeled completions that KTO trains on: which files are read, and which rows are refused."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from lowmed.data.preference_table import PreferenceSelection, digest
from lowmed.data.split import DataSplit
from lowmed.data.unpaired import LabeledCompletion, read_unpaired, select_unpaired
from lowmed.engine import completion_batch, training_data
from lowmed.errors import DataError, RecipeError
from lowmed.methods import KtoSpec
from lowmed.nano import phantom
from lowmed.recipe import DataSpec

SAMPLES = tuple(phantom.samples("train", 12))
TRAIN, HELD_OUT = SAMPLES[:8], SAMPLES[8:]
WRONG = "<think>I see something else.</think><answer>none of these</answer>"


def right(number: int) -> str:
    return f"<think>I see it.</think><answer>{SAMPLES[number].answer}</answer>"


def good(number: int) -> dict[str, Any]:
    return {"id": SAMPLES[number].id, "completion": right(number), "label": True}


def bad(number: int) -> dict[str, Any]:
    return {"id": SAMPLES[number].id, "completion": WRONG, "label": False}


def written(folder: Path, rows: Sequence[Mapping[str, Any] | str]) -> DataSpec:
    file = folder / "unpaired.jsonl"
    file.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows))
    return DataSpec(source="phantom", unpaired=str(file))


def select(spec: DataSpec) -> PreferenceSelection[LabeledCompletion]:
    return select_unpaired(TRAIN, SAMPLES, HELD_OUT, spec)


def test_questions_with_one_label_are_trained_on_too(tmp_path: Path) -> None:
    selection = select(written(tmp_path, [good(3), bad(1), {**good(3), "completion": right(3) + " "}, bad(3)]))
    assert selection.kept == (SAMPLES[1], SAMPLES[3])
    assert selection.of_sample[SAMPLES[1].id] == (LabeledCompletion(WRONG, label=False),)
    assert selection.lines == (
        f"4 labeled completions of 2 questions from {tmp_path / 'unpaired.jsonl'}; 6 questions without",
        "2 good, 2 bad",
    )


def test_an_epoch_draws_each_labeled_completion_once(tmp_path: Path) -> None:
    selection = select(written(tmp_path, [good(3), bad(1), bad(3)]))
    split = DataSplit("phantom", selection.kept, {}, {}, {}, phantom.open_image, "", unpaired=selection.of_sample)
    assert split.drawn == (SAMPLES[1], SAMPLES[3], SAMPLES[3])
    assert replace(split, unpaired={}).drawn == split.train


def test_the_labels_of_an_epoch_are_mixed_if_each_question_begins_with_its_good_ones(tmp_path: Path) -> None:
    rows = [row for number in range(8) for row in (good(number), bad(number))]
    selection = select(written(tmp_path, rows))
    assert {some[0].label for some in selection.of_sample.values()} == {True, False}
    drawn = training_data.schedule(tuple(sample for sample in TRAIN for _ in range(2)), 16, 1, seed=0)
    labels = [one.label for one in completion_batch.of_each_row(drawn, selection.of_sample)]
    assert sum(labels) == 8
    assert 2 <= sum(labels[:8]) <= 6
    assert select(written(tmp_path, rows[::-1])).of_sample == selection.of_sample


def test_completions_of_questions_that_the_recipe_leaves_out_are_counted(tmp_path: Path) -> None:
    spec = written(tmp_path, [good(0), bad(1), bad(5), good(6)])
    selection = select_unpaired(TRAIN[:4], SAMPLES, HELD_OUT, spec)
    assert selection.lines[1:] == (
        "1 good, 1 bad",
        "2 labeled completions left out, because their questions are: for data.dev, or by another key of data",
    )
    with pytest.raises(DataError, match="no labeled completion belongs to a question that is trained on"):
        select_unpaired(TRAIN[2:4], SAMPLES, HELD_OUT, spec)


@pytest.mark.parametrize("texts", [("True", "False"), ("true", "false"), ("TRUE", " false ")])
def test_a_csv_table_has_the_same_labels(texts: tuple[str, str], tmp_path: Path) -> None:
    rows = [good(0), bad(1)]
    with (tmp_path / "unpaired.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["label", "completion", "id"])
        writer.writeheader()
        writer.writerows({**row, "label": texts[not row["label"]]} for row in rows)
    written(tmp_path, rows)
    read = [read_unpaired(tmp_path / f"unpaired.{suffix}") for suffix in ("csv", "jsonl")]
    contents = [[(one.id, one.content) for one in some] for some in read]
    assert contents[0] == contents[1]


def test_a_parquet_table_has_the_same_labels(tmp_path: Path) -> None:
    Dataset.from_list([good(0), bad(1)]).to_parquet(tmp_path / "unpaired.parquet")
    assert [one.content.label for one in read_unpaired(tmp_path / "unpaired.parquet")] == [True, False]


MISTAKES: dict[str, tuple[list[Mapping[str, Any] | str], str, str]] = {
    "other data": (
        [good(0), {**bad(1), "id": "elsewhere/7"}], "1 of 2 labeled completions name questions that these data lack",
        ":2",
    ),
    "held out": ([good(0), bad(9)], "1 of 2 labeled completions belong to questions that this recipe holds out", ":2"),
    "broken line": ([good(0), '{"id": "1", "compl'], "cannot be read: the line is not JSON", ":2"),
    "no label": ([good(0), {**bad(1), "label": None}], "a labeled completion has no label", ":2"),
    "the columns of pairs": (
        [{"id": SAMPLES[0].id, "chosen": right(0), "rejected": WRONG}], "has no completion and no label", ":1",
    ),
    "an empty text": ([{**good(0), "completion": "  "}], "completion is not a text", ":1"),
    "messages in place of a text": (
        [{**good(0), "completion": [{"role": "assistant", "content": "x"}]}], "completion is not a text", ":1",
    ),
    "a number as the label": ([good(0), {**bad(1), "label": 0}], "the label `0` is neither true nor false", ":2"),
    "a word as the label": ([{**good(0), "label": "good"}], "the label `good` is neither true nor false", ":1"),
    "an end token": ([{**bad(0), "completion": "no<|im_end|>"}], "contains <|im_end|>", ":1"),
    "both labels": (
        [good(0), {**good(0), "completion": right(0).replace(" see", "\n see"), "label": False}],
        f"a completion of question `{SAMPLES[0].id}` is labeled both good and bad", ":1; ",
    ),
    "a wrong one labeled good": (
        [good(0), {**bad(1), "label": True}, bad(2)], "1 of 2 completions labeled good are wrong", ":2",
    ),
    "only good ones": ([good(0), good(1)], "all 2 completions of questions that are trained on are labeled good", ""),
    "only bad ones": ([bad(0), bad(1)], "all 2 completions of questions that are trained on are labeled bad", ""),
    "one question": ([good(0), bad(0)], "all labeled completions belong to one question", ""),
    "no line": (["", ""], "the file has no labeled completions", "unpaired.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_completions_that_cannot_be_trained_on_are_refused_with_their_line(mistake: str, tmp_path: Path) -> None:
    rows, what, where = MISTAKES[mistake]
    with pytest.raises(DataError) as caught:
        select(written(tmp_path, rows))
    assert what in caught.value.what
    assert where in caught.value.where
    assert caught.value.fix


def test_the_same_completion_may_have_different_labels_for_different_questions(tmp_path: Path) -> None:
    other = next(n for n in range(1, 8) if SAMPLES[n].answer != SAMPLES[0].answer)
    rows = [good(0), {**bad(other), "completion": right(0)}]
    assert len(select(written(tmp_path, rows)).kept) == 2


def test_missing_files_and_recipes_without_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file of labeled completions does not exist"):
        select(DataSpec(source="phantom", unpaired=str(tmp_path / "none.jsonl")))
    with pytest.raises(RecipeError, match="names no file") as caught:
        select(DataSpec(source="phantom"))
    assert "lowmed data pairs probe --unpaired" in caught.value.fix


def test_a_wrong_one_labeled_good_can_be_allowed(tmp_path: Path) -> None:
    spec = written(tmp_path, [{**bad(1), "label": True}, bad(2)])
    assert select(spec.model_copy(update={"allow_wrong_chosen": True})).kept == (SAMPLES[1], SAMPLES[2])


def test_bad_completions_with_the_right_answer_are_counted(tmp_path: Path) -> None:
    also_right = {**good(1), "label": False}
    lines = select(written(tmp_path, [good(0), also_right, bad(2)])).lines
    assert lines[2] == "1 of 2 bad completions have the right answer; these teach style"


def test_the_digest_depends_on_texts_and_labels() -> None:
    one, two = LabeledCompletion("a", label=True), LabeledCompletion("a", label=False)
    assert digest({"1": (one,), "2": (two,)}) == digest({"2": (two,), "1": (one,)})
    assert len({digest({"1": (one,)}), digest({"1": (two,)}), digest({"1": (one, two)})}) == 3


UNBALANCED = {
    (100, 200): "is 0.50; KTO's authors recommend 1 to 1.5: set method.desirable_weight to a value from 2 to 2.67",
    (300, 100): "is 3.00; KTO's authors recommend 1 to 1.5: set method.undesirable_weight to a value from 2.25 to 3",
}


@pytest.mark.parametrize(
    ("good_count", "bad_count", "settings", "advice"),
    [
        (100, 100, {}, None),
        (400, 300, {}, None),
        (3, 2, {}, None),
        (100, 200, {"desirable_weight": 2.0}, None),
        *((*counts, {}, advice) for counts, advice in UNBALANCED.items()),
        (100, 100, {"desirable_weight": 2.0}, "set method.undesirable_weight to a value from 1.5 to 2"),
        (7, 1234, {}, "set method.desirable_weight to a value from 176 to 235"),
        (1234, 7, {"undesirable_weight": 0.3}, "set method.undesirable_weight to a value from 132 to 176"),
    ],
)
def test_weights_that_do_not_balance_the_labels_get_a_warning_with_weights_that_do(
    good_count: int, bad_count: int, settings: dict[str, float], advice: str | None
) -> None:
    method = KtoSpec.model_validate({"kind": "kto", **settings})
    warning = method.balance_warning(good_count, bad_count)
    if advice is None:
        assert warning is None
        return
    assert warning
    assert advice in warning
    words = warning.split()
    key = words[words.index("set") + 1].removeprefix("method.")
    for weight in (words[words.index("from") + 1], words[-1]):
        followed = KtoSpec.model_validate({"kind": "kto", **settings, key: float(weight)})
        assert followed.balance_warning(good_count, bad_count) is None
