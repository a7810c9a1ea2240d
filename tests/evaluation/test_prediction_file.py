"""Files of completions: field names of other tools, options in the question, repeated ids, empty files."""

import json
from pathlib import Path
from typing import Any

import pytest

from lowmed.api.score import score
from lowmed.errors import DataError, RecipeError
from lowmed.evaluation.prediction_file import read_predictions
from lowmed.evaluation.records import ScoreSummary
from lowmed.evaluation.score import score_row
from lowmed.files import read_jsonl

CHAT = "system\nYou are a helpful assistant.\nuser\n<image>Is there a mass?\nassistant\n"
TAGGED_CHAT = (
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Is there a mass?<|im_end|>\n<|im_start|>assistant\n"
)
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>Is there a mass?"}]


def _write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"question_id": 1, "question": "Is there a mass?", "gt_answer": "yes", "response": "yes"},
        {"prompt": "Is there a mass?", "predict": "yes", "label": "yes"},
        {"prompt": CHAT, "predict": "yes", "label": "yes"},
        {"prompt": TAGGED_CHAT, "predict": "yes", "label": "yes"},
        {"response": "yes", "labels": "yes", "logprobs": None, "messages": TURNS, "images": [{"path": "a.png"}]},
        {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is there a mass?"}]}],
         "response": "yes", "labels": "yes"},
        {"prompt": TURNS, "output": "yes", "target": "yes"},
        {"question_id": 5, "text": "Is there a mass?", "gt": "yes", "pred": "yes"},
        {"doc_id": 0, "doc": {"question": "Is there a mass?"}, "target": "yes", "resps": [["Yes"]],
         "filtered_resps": ["yes"]},
        {"index": 3, "question": "Is there a mass?", "answer": "yes", "prediction": "yes", "hit": 1},
        {"instruction": "Is there a mass?", "input": "", "output": "yes", "predict": "yes"},
        {"Question": "Is there a mass?", "Ground-Truth": "yes", "Model Answer": "yes"},
        {"question": "Is there a mass?", "answer": "yes", "gt_answer": "yes"},
        {"query": "Is there a mass?", "response": "yes", "solution": "yes"},
    ],
)  # fmt: skip
def test_field_names_of_other_tools_are_recognized(tmp_path: Path, row: dict[str, Any]) -> None:
    [read] = read_predictions(_write(tmp_path, row)).rows
    assert (read["question"].replace("<image>", ""), read["answer"], read["completion"]) == (
        "Is there a mass?",
        "yes",
        "yes",
    )
    assert score(tmp_path / "p.jsonl").accuracy == 1


def test_lowmeds_own_names_come_first(tmp_path: Path) -> None:
    row = {"id": "7", "question": "?", "answer": "yes", "completion": "no", "response": "yes", "label": "no", "qid": 1}
    predictions = read_predictions(_write(tmp_path, row))
    assert predictions.rows == (row,)
    assert predictions.fields == {}


def test_a_model_answer_next_to_the_truth_is_the_completion(tmp_path: Path) -> None:
    path = _write(tmp_path, {"question": "?", "answer": "no", "gt_answer": "yes"})
    [row] = read_predictions(path).rows
    assert (row["completion"], row["answer"]) == ("no", "yes")
    path = _write(tmp_path, {"question": "?", "answer": "no", "gt": "yes", "response": "No, surely."})
    [row] = read_predictions(path).rows
    assert (row["completion"], row["answer"]) == ("No, surely.", "yes")


def test_fields_can_be_mapped(tmp_path: Path) -> None:
    path = _write(tmp_path, {"frage": "?", "soll": "yes", "ist": "no", "answer": "x", "patient": "a"})
    mapping = {"question": "frage", "answer": "soll", "completion": "ist"}
    predictions = read_predictions(path, mapping)
    assert predictions.fields == {**mapping, "group": "patient"}
    summary = score(path, fields=mapping)
    assert isinstance(summary, ScoreSummary)
    assert (summary.accuracy, summary.independent_rows) == (0, 0)


def test_fields_without_a_place_are_named(tmp_path: Path) -> None:
    path = _write(tmp_path, {"question_id": 1, "prompt": "?", "text": "yes", "answer_id": "x", "score": 1})
    with pytest.raises(DataError) as raised:
        read_predictions(path)
    assert raised.value.what == "no field of the rows holds the answer"
    assert "not placed: answer_id, score" in raised.value.where
    assert "--map" in raised.value.fix


def test_a_field_that_names_no_image_does_not_make_one_group_of_all_rows(tmp_path: Path) -> None:
    row = {"question": "?", "answer": "yes", "prediction": "yes", "file": "results.json", "subject": "Medicine"}
    path = _write(tmp_path, *({"qid": at, **row} for at in range(4)))
    assert score(path).independent_rows == 4
    assert score(path, fields={"group": "file"}).images == 1


def test_an_unknown_field_in_the_mapping_is_an_error(tmp_path: Path) -> None:
    path = _write(tmp_path, {"question": "?", "answer": "yes", "completion": "yes"})
    with pytest.raises(RecipeError, match="`gold` is not a field"):
        read_predictions(path, {"gold": "answer"})
    with pytest.raises(RecipeError, match="no field `truth`"):
        read_predictions(path, {"answer": "truth"})


def test_a_table_with_one_option_a_column_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(
        "index,question,A,B,C,D,answer,category,prediction\n"
        "0,Which modality?,CT,MRI,,,B,x,MRI\n1,Which one?,CT,MRI,US,X-ray,C,x,C\n"
    )
    first, second = read_predictions(path).rows
    assert (first["options"], second["options"]) == (["CT", "MRI"], ["CT", "MRI", "US", "X-ray"])
    assert score(path).accuracy == 1


def test_a_label_of_the_answer_type_becomes_the_kind(tmp_path: Path) -> None:
    rows = [
        {"qid": 1, "question": "Left or right?", "answer": "left", "answer_type": "CLOSED", "response": "left"},
        {"qid": 2, "question": "Where?", "answer": "left lung", "answer_type": "OPEN", "response": "left lung"},
        {"qid": 3, "question": "Which?", "answer": "A", "answer_type": "other", "response": "A"},
        {"qid": 4, "question": "Which? A. CT B. MRI", "answer": "A", "answer_type": "CLOSED", "response": "CT"},
    ]
    assert [row["kind"] for row in map(_scored, read_predictions(_write(tmp_path, *rows)).rows)] == [
        "closed",
        "open",
        "open",
        "choice",
    ]


def _scored(row: dict[str, Any]) -> dict[str, Any]:
    return score_row(row, "row")


@pytest.mark.parametrize(
    ("question", "gold"),
    [
        ("Which modality? A. CT B. MRI C. X-ray", "B"),
        ("Which modality?\nA. CT\nB. MRI\nC. X-ray", "B"),
        ("Which modality?\nA) CT\nB) MRI\nC) X-ray\nAnswer with the letter of the option.", "B"),
        ("Which modality? Options: (A) CT, (B) MRI, (C) X-ray", "B"),
        ("Which modality? A: CT; B: MRI", "B"),
        ("Which modality? a) CT b) MRI", "b"),
        ("Which modality? A. CT B. MRI C. X-ray", "MRI"),
        ("Which modality? A. CT B. MRI C. X-ray", "B. MRI"),
    ],
)
def test_options_in_the_question_are_read(question: str, gold: str) -> None:
    base = {"id": "1", "question": question, "answer": gold}
    for completion, outcome in (("MRI", "correct"), ("B", "correct"), ("B. MRI", "correct"), ("CT", "incorrect")):
        row = _scored({**base, "completion": f"<answer>{completion}</answer>"})
        assert (row["kind"], row["outcome"]) == ("choice", outcome), completion
        assert row["options"][:2] == ["CT", "MRI"]
        assert _scored(row) == row


def test_the_last_option_ends_before_an_instruction() -> None:
    question = "Which modality?\nA. CT\nB. X-ray\nAnswer with the letter."
    row = _scored({"id": "1", "question": question, "answer": "B", "completion": "X-ray"})
    assert (row["options"], row["outcome"]) == (["CT", "X-ray"], "correct")


@pytest.mark.parametrize(
    ("question", "gold", "kind"),
    [
        ("Is it in zone A. or B. of the liver?", "yes", "closed"),
        ("Where is it?", "C", "choice"),
        ("Is vitamin A. B. or C. low?", "iron", "open"),
    ],
)
def test_a_question_whose_gold_answer_is_not_an_option_keeps_its_kind(question: str, gold: str, kind: str) -> None:
    row = _scored({"id": "1", "question": question, "answer": gold, "completion": gold})
    assert (row["kind"], row["outcome"]) == (kind, "correct")
    assert "options" not in row


def test_a_row_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    rows = [{"question": "?", "answer": "yes", "completion": "yes", "site": site} for site in ("A", ["A", "B"])]
    path = _write(tmp_path, *rows)
    with pytest.raises(DataError) as raised:
        read_predictions(path, {"strata": "site"})
    assert raised.value.where == f"{path}:2"


def test_repeated_ids_are_refused_and_named(tmp_path: Path) -> None:
    row = {"question": "?", "answer": "yes", "completion": "yes"}
    path = _write(tmp_path, *({"id": name, **row} for name in ("a", "b", "a", "c", "b")))
    with pytest.raises(DataError) as raised:
        score(path)
    assert (raised.value.what, raised.value.where) == ("2 ids occur more than once", f"{path}: a, b")
    assert score(path, fields={"id": ""}).n == 5
    path = _write(tmp_path, *({"id": "a", "split": split, **row} for split in ("test", "val")))
    assert score(path).n == 2


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv", "p.json"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[]" if name == "p.json" else "question,answer,completion\n" if "csv" in name else "")
    with pytest.raises(DataError, match="the file holds no completion"):
        score(tmp_path / name)


def test_scored_rows_hold_lowmeds_fields(tmp_path: Path) -> None:
    path = _write(tmp_path, {"prompt": "Is there a mass?", "predict": "yes", "label": "yes"})
    score(path, tmp_path / "out")
    [row] = read_jsonl(tmp_path / "out" / "scored.jsonl")
    assert (row["id"], row["question"], row["answer"], row["completion"]) == ("1", "Is there a mass?", "yes", "yes")
    assert row["predict"] == "yes"
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["field_names"] == {
        "completion": "predict",
        "answer": "label",
        "question": "prompt",
    }


def test_the_baselines_are_those_of_the_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": f"Is it {at}?", "answer": "yes" if at < 7 else "no", "completion": "yes"} for at in range(10)
    ]
    rows += [{"question": f"Which {at}?", "options": ["a1", "b1", "c1", f"d{at}"], "answer": "D", "completion": "A"}
             for at in range(10)]  # fmt: skip
    summary = score(_write(tmp_path, *rows))
    assert summary.most_frequent_gold == pytest.approx((7 + 10) / 20)  # always D
    assert summary.by_kind["closed"].most_frequent_gold == pytest.approx(0.7)
    assert summary.chance == pytest.approx((10 * 0.5 + 10 * 0.25) / 20)
    assert summary.independent_rows == 20


def test_questions_that_share_images_widen_the_interval(tmp_path: Path) -> None:
    rows = [
        {
            "question": f"Is it {at}?",
            "answer": "yes",
            "completion": "yes" if at % 8 < 4 else "no",
            "image": f"{at // 4}",
        }
        for at in range(80)
    ]
    shared = score(_write(tmp_path, *rows))
    alone = score(_write(tmp_path, *({**row, "image": at} for at, row in enumerate(rows))))
    assert (shared.images, alone.images) == (20, 80)
    assert shared.accuracy_by_image is not None
    assert alone.accuracy_by_image is not None
    assert shared.accuracy_by_image[0] < alone.accuracy_by_image[0] - 0.05
