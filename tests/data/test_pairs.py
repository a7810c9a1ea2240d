"""The pairs of completions that DPO trains on: which files are read, and which pairs are refused."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lowmed.data.pairs import Pair, read_pairs, select_pairs
from lowmed.data.preference_table import PreferenceSelection, digest
from lowmed.errors import DataError, RecipeError
from lowmed.nano import phantom
from lowmed.recipe import DataSpec

SAMPLES = tuple(phantom.samples("train", 12))
TRAIN, HELD_OUT = SAMPLES[:8], SAMPLES[8:]
WRONG = "<think>I see something else.</think><answer>none of these</answer>"


def right(number: int) -> str:
    return f"<think>I see it.</think><answer>{SAMPLES[number].answer}</answer>"


def row(number: int) -> dict[str, str]:
    return {"id": SAMPLES[number].id, "chosen": right(number), "rejected": WRONG}


def written(folder: Path, rows: Sequence[Mapping[str, Any] | str]) -> DataSpec:
    file = folder / "pairs.jsonl"
    file.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows))
    return DataSpec(source="phantom", pairs=str(file))


def select(spec: DataSpec) -> PreferenceSelection[Pair]:
    return select_pairs(TRAIN, SAMPLES, HELD_OUT, spec)


def test_only_questions_with_pairs_are_trained_on(tmp_path: Path) -> None:
    selection = select(written(tmp_path, [row(3), row(1), {**row(3), "rejected": "<answer>nothing</answer>"}]))
    assert selection.kept == (SAMPLES[1], SAMPLES[3])
    assert selection.of_sample[SAMPLES[3].id] == (Pair(right(3), WRONG), Pair(right(3), "<answer>nothing</answer>"))
    assert selection.lines == (f"3 pairs of 2 questions from {tmp_path / 'pairs.jsonl'}; 6 questions without",)


def test_pairs_of_questions_that_the_recipe_leaves_out_are_counted(tmp_path: Path) -> None:
    spec = written(tmp_path, [row(0), row(5), row(6)])
    selection = select_pairs(TRAIN[:4], SAMPLES, HELD_OUT, spec)
    assert (
        selection.lines[1] == "2 pairs left out, because their questions are: for data.dev, or by another key of data"
    )
    with pytest.raises(DataError, match="no pair belongs to a question that is trained on"):
        select_pairs(TRAIN[1:4], SAMPLES, HELD_OUT, spec)


def test_a_csv_table_has_the_same_pairs(tmp_path: Path) -> None:
    rows = [row(0), {**row(1), "chosen": right(1).replace(".", ', "clearly"\n.')}]
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["chosen", "id", "rejected"])
        writer.writeheader()
        writer.writerows(rows)
    written(tmp_path, rows)
    pairs = [[(one.id, one.content) for one in read_pairs(tmp_path / f"pairs.{suffix}")] for suffix in ("csv", "jsonl")]
    assert pairs[0] == pairs[1]


MISTAKES: dict[str, tuple[list[Mapping[str, Any] | str], str, str]] = {
    "other data": ([row(0), {**row(1), "id": "elsewhere/7"}], "1 of 2 pairs name questions that these data lack", ":2"),
    "held out": ([row(0), row(9)], "1 of 2 pairs belong to questions that this recipe holds out", ":2"),
    "broken line": ([row(0), '{"id": "1", "chosen'], "cannot be read: the line is not JSON", ":2"),
    "a list in a line": ([row(0), "[1, 2]"], "not a JSON object", ":2"),
    "no column": ([{"id": SAMPLES[0].id, "chosen": right(0)}], "a pair has no rejected", ":1"),
    "an empty text": ([{**row(0), "rejected": "  "}], "chosen or rejected is not a text", ":1"),
    "messages in place of a text": (
        [{**row(0), "chosen": [{"role": "assistant", "content": "x"}]}], "chosen or rejected is not a text", ":1",
    ),
    "equal texts": ([row(0), {**row(1), "rejected": right(1) + "\n"}], "chosen and rejected are the same text", ":2"),
    "an end token": ([{**row(0), "rejected": "no<|im_end|>"}], "contains <|im_end|>", ":1"),
    "a wrong one chosen": (
        [row(0), {"id": SAMPLES[1].id, "chosen": WRONG, "rejected": right(1)}],
        "the chosen completion is wrong in 1 of 2 pairs", ":2",
    ),
    "no line": (["", ""], "the file has no pairs", "pairs.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_pairs_that_cannot_be_trained_on_are_refused_with_their_line(mistake: str, tmp_path: Path) -> None:
    rows, what, where = MISTAKES[mistake]
    with pytest.raises(DataError) as caught:
        select(written(tmp_path, rows))
    assert what in caught.value.what
    assert where in caught.value.where
    assert caught.value.fix


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    spec = DataSpec(source="phantom", pairs=str(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="the file of pairs does not exist"):
        select(spec)
    (tmp_path / "none.jsonl").touch()
    with pytest.raises(DataError, match="empty"):
        select(spec)
    with pytest.raises(RecipeError, match="names no file") as caught:
        select(DataSpec(source="phantom"))
    assert "lowmed probe" in caught.value.fix
    assert "lowmed data pairs" in caught.value.fix


def test_a_wrong_chosen_completion_can_be_allowed_and_one_without_a_readable_answer_is_none(tmp_path: Path) -> None:
    wrong = {"id": SAMPLES[1].id, "chosen": WRONG, "rejected": right(1)}
    spec = written(tmp_path, [wrong])
    assert select(spec.model_copy(update={"allow_wrong_chosen": True})).kept == (SAMPLES[1],)
    unread = {**wrong, "chosen": "<think>I do not know.</think>"}
    assert select(written(tmp_path, [unread])).kept == (SAMPLES[1],)


def test_rejected_completions_with_the_right_answer_are_counted(tmp_path: Path) -> None:
    also_right = {**row(0), "rejected": f"<think>I guess.</think><answer>{SAMPLES[0].answer}</answer>"}
    assert (
        "1 of 2 rejected completions have the right answer too"
        in select(written(tmp_path, [also_right, row(1)])).lines[1]
    )


def test_free_texts_have_no_wrong_answer(tmp_path: Path) -> None:
    report = replace(SAMPLES[0], kind="text", answer="The lungs are clear.", options=())
    spec = written(tmp_path, [{"id": report.id, "chosen": "No finding in the lungs.", "rejected": "A tumor."}])
    assert select_pairs([report], [report], [], spec).kept == (report,)


def test_the_digest_depends_on_the_pairs_and_their_order_within_a_question() -> None:
    first, second = Pair("a", "b"), Pair("c", "d")
    both = digest({"1": (first, second), "2": (first,)})
    assert both == digest({"2": (first,), "1": (first, second)})
    assert len({both, digest({"1": (second, first), "2": (first,)}), digest({"1": (first, second)})}) == 3
