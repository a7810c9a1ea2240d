"""MedCalc-Bench and medical-o1 from small files of their published columns; the notes are made up."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data.made import SETTINGS, SHARED, rejected, samples

from lowmed import prompt
from lowmed.answer import grade, read
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.ingest.prepare import prepare
from lowmed.data.load import load
from lowmed.data.sources import KNOWN
from lowmed.data.split import split_data, validate_split
from lowmed.errors import DataError
from lowmed.recipe import DataSpec
from lowmed.recipe.io import load_recipe
from lowmed.rewards.format import Format
from lowmed.rewards.registry import for_recipe
from lowmed.sample import Sample

NOTES = {
    "bmi": "A made-up adult weighs 64 kg\nand is 1.70 m tall.",
    "date": "A made-up period began on 08/19/2022.",
    "score": "A made-up adult has diabetes.",
}
GOLDS = [
    ("bmi", "physical", "decimal", "22.145", "21.038", "23.252"),
    ("score", "risk", "integer", "3", "3", "3"),
    ("date", "date", "date", "05/26/2023", "05/26/2023", "05/26/2023"),
    ("date", "date", "integer", "('14 weeks', '4 days')", "('14 weeks', '4 days')", "('14 weeks', '4 days')"),
    ("bmi", "lab", "decimal", "-2.5", "-2.375", "-2.625"),
    ("score", "dosage conversion", "decimal", "8", "8", "8"),
]


def row(number: int, note: str, gold: Sequence[str], **changes: Any) -> dict[str, Any]:
    category, output_type, answer, lower, upper = gold
    return {
        "Row Number": number, "Calculator ID": 6, "Calculator Name": "made up", "Category": category,
        "Output Type": output_type, "Note ID": "1", "Note Type": "Synthetic", "Patient Note": note,
        "Question": f"What is value {number}?", "Relevant Entities": "{}", "Ground Truth Answer": answer,
        "Lower Limit": lower, "Upper Limit": upper,
        "Ground Truth Explanation": f"The first step.\nThe result is {answer}.", **changes,
    }  # fmt: skip


def write(folder: Path, **tables: list[dict[str, Any]]) -> Path:
    from datasets import Dataset

    folder.mkdir(exist_ok=True)
    for name, rows in tables.items():
        Dataset.from_list(rows).to_parquet(folder / f"{name}-00000-of-00001.parquet")
    return folder


def rows() -> list[dict[str, Any]]:
    return [row(number, NOTES[note], gold) for number, (note, *gold) in enumerate(GOLDS)]


def build(
    source: str, path: Path, out: Path, options: ImportOptions | None = None, **more: Any
) -> list[dict[str, Any]]:
    stream = KNOWN[source].rows(str(path), options or ImportOptions())
    prepare(stream.entries, out, SETTINGS, {"source": source}, **more)
    return samples(out)


def medcalc(folder: Path) -> list[Sample]:
    return list(load("medcalc-bench", str(write(folder, train=rows()))).samples)


def test_every_output_type_becomes_a_number_and_limits_belong_to_plain_numbers_only(tmp_path: Path) -> None:
    result = medcalc(tmp_path)
    assert {sample.kind for sample in result} == {"number"}
    assert [(sample.answer, sample.lower, sample.upper) for sample in result] == [
        ("22.145", "21.038", "23.252"), ("3", "3", "3"), ("05/26/2023", "", ""), ("14 weeks, 4 days", "", ""),
        ("-2.5", "-2.375", "-2.625"), ("8", "8", "8"),
    ]  # fmt: skip
    assert [sample.topic for sample in result] == ["physical", "risk", "date", "date", "lab test", "dosage"]


def test_the_question_holds_note_and_task_with_their_lines_and_never_the_solution(tmp_path: Path) -> None:
    first = medcalc(tmp_path)[0]
    assert first.question == (
        f"Here is the patient note:\n```{NOTES['bmi']}```\n\nHere is the task:\n```What is value 0?```"
    )
    assert first.explanation == "The first step.\nThe result is 22.145."
    assert "22.145" not in first.question


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        (0, ["22.1 kg/m2", "BMI = 22.145", "21.038"], ["23.3", "220", "-22.145"]),
        (1, ["3 points", "three", "The score is 3."], ["3.4", "4", "3 or 4"]),
        (2, ["5/26/2023", "May 26, 2023", "2023-05-26"], ["05/27/2023", "05/26/23", "26"]),
        (
            3,
            ["14 weeks 4 days", "('14 weeks', '4 days')", "(14, 4)", "14 weeks and 4 days"],
            ["14 weeks 5 days", "4 weeks 14 days", "102 days", "14 weeks 4 days or 15 weeks 4 days", "14w4d"],
        ),
        (4, ["-2.4", "-2.6"], ["2.5", "-3"]),
    ],
)
def test_answers_are_graded_within_the_published_limits(
    tmp_path: Path, gold: int, right: list[str], wrong: list[str]
) -> None:
    sample = medcalc(tmp_path)[gold]

    def outcome(text: str) -> str:
        return grade(read(f"<think>I compute it.</think><answer>{text}</answer>", sample), sample).strict_outcome

    assert [text for text in right if outcome(text) != "correct"] == []
    assert [text for text in wrong if outcome(text) == "correct"] == []


def test_rows_of_one_note_are_never_in_two_parts_of_a_split(tmp_path: Path) -> None:
    many = [row(number, f"A made-up patient {number // 3}.", tuple(GOLDS[number % 2][1:])) for number in range(60)]
    split = split_data(load("medcalc-bench", str(write(tmp_path, train=many))), DataSpec(source="x"), 0)
    parts = [
        {sample.question.split("\n\n")[0] for sample in part} for part in (split.train, split.held_out["held-out"])
    ]
    assert all(parts)
    assert not parts[0] & parts[1]


def test_a_note_in_train_and_test_is_one_group_and_the_official_split_is_refused(tmp_path: Path) -> None:
    changed = row(0, f"  {NOTES['bmi'].upper()} ", tuple(GOLDS[0][1:]))
    folder = write(tmp_path, train=rows(), test=[changed, row(1, "Another made-up note.", tuple(GOLDS[1][1:]))])
    spec = DataSpec(source="medcalc-bench", split_by="official")
    with pytest.raises(DataError) as caught:
        validate_split(split_data(load("medcalc-bench", str(folder)), spec, 0), spec)
    assert "1 of 2 test groups are trained on" in caught.value.where


def test_ids_are_unique_where_row_numbers_are_not_and_a_repeated_row_is_kept(tmp_path: Path) -> None:
    twice = [*rows(), row(0, "Of another version.", tuple(GOLDS[1][1:])), row(9, NOTES["bmi"], tuple(GOLDS[0][1:]))]
    twice[-1]["Question"] = twice[0]["Question"]
    assert len({sample["id"] for sample in build("medcalc-bench", write(tmp_path, train=twice), tmp_path / "o")}) == 8


def test_rows_that_cannot_be_used_are_rejected_with_the_reason(tmp_path: Path) -> None:
    broken = [
        row(0, " ", tuple(GOLDS[0][1:])),
        row(1, "A note.", ("risk", "integer", "5", "3", "4")),
        row(2, "A note.", ("risk", "integer", "", "3", "4")),
        row(3, "A note.", ("risk", "integer", "4", "", "")),
    ]
    (only,) = build("medcalc-bench", write(tmp_path, train=broken), tmp_path / "out", max_rejected=0.9)
    assert (only["answer"], only["lower"], only["upper"]) == ("4", "", "")
    assert [reason for _, _, reason in rejected(tmp_path / "out")] == [
        "no Patient Note",
        "the answer 5 is outside its limits, 3 to 4",
        "no Ground Truth Answer",
    ]


def test_the_published_csv_files_are_read_and_other_files_of_the_folder_are_not(tmp_path: Path) -> None:
    import csv

    for name in ("train_data", "test_data"):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows()[0]))
            writer.writeheader()
            writer.writerows(rows() if name == "train_data" else [row(7, "A made-up\ntest note.", tuple(GOLDS[1][1:]))])
    (tmp_path / "one_shot.csv").write_text("a,b\n1,2\n")
    result = build("medcalc-bench", tmp_path, tmp_path / "out")
    assert [sample["split"] for sample in result].count("test") == 1
    assert len(result) == 7


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path, train=[{"prompt": "a", "reward_model": "b"}])
    with pytest.raises(DataError, match="no column `Patient Note`"):
        build("medcalc-bench", tmp_path, tmp_path / "out")


def test_the_real_rows_are_all_read_within_their_limits() -> None:
    folder = SHARED / "data/medcalc"
    if not folder.is_dir():
        pytest.skip("the real rows are not at ../shared/data/medcalc")
    result = load("medcalc-bench", str(folder)).samples
    assert len(result) == 840
    family = prompt.family("ehrmind")
    wrong = [
        sample.id
        for sample in result
        if grade(read(prompt.reference_completion(family, sample), sample), sample).strict_outcome != "correct"
    ]
    assert wrong == []
    assert {sample.topic for sample in result} == {
        "lab test", "physical", "date", "dosage", "risk", "severity", "diagnosis",
    }  # fmt: skip


def test_solutions_that_repeat_their_sentences_are_in_form_but_loops_are_not() -> None:
    (form, _) = for_recipe(load_recipe("ehr-medcalc"))
    sample = Sample("1", "What is it?", "3", "number", "g", "t", lower="3", upper="3")
    items = ("gout", "a cough", "a fall", "pain", "fever", "anaemia")
    steps = "".join(
        f"The patient does not have {item}, so we do not add a point and the total stays at 3. " for item in items
    )
    assert form(sample, f"<think>{steps}</think><answer>3</answer>").value == 1
    assert Format()(sample, f"<think>{steps * 2}</think><answer>3</answer>").value == 0
    assert form(sample, f"<think>{'we add a point ' * 40}</think><answer>3</answer>").value == 0
    with pytest.raises(ValueError, match="share above 0"):
        Format(distinct=0.0)


def medical_o1(folder: Path, name: str, question: str) -> None:
    content = [{"Question": question, "Complex_CoT": "First this.\nThen that.", "Response": "It is this. Rest."}]
    (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def test_medical_o1_is_read_in_the_language_of_the_options(tmp_path: Path) -> None:
    medical_o1(tmp_path, "medical_o1_sft.json", "What is it?")
    medical_o1(tmp_path, "medical_o1_sft_Chinese.json", "这是什么？")
    medical_o1(tmp_path, "medical_o1_sft_mix.json", "What is two?")
    (english,) = build("medical-o1", tmp_path, tmp_path / "en")
    assert (english["question"], english["kind"], english["explanation"]) == (
        "What is it?", "text", "First this.\nThen that.",
    )  # fmt: skip
    assert len(build("medical-o1", tmp_path, tmp_path / "both", ImportOptions(language="both"))) == 2
    (mixed,) = build("medical-o1", tmp_path / "medical_o1_sft_mix.json", tmp_path / "mix")
    assert mixed["question"] == "What is two?"


def test_medical_o1_without_its_file_or_columns_is_refused(tmp_path: Path) -> None:
    medical_o1(tmp_path, "medical_o1_sft.json", "What is it?")
    with pytest.raises(DataError, match=r"no medical_o1_sft_Chinese\.json"):
        build("medical-o1", tmp_path, tmp_path / "out", ImportOptions(language="zh"))
    (tmp_path / "medical_o1_sft.json").write_text('[{"Question": "a", "Response": "b"}]')
    with pytest.raises(DataError, match="no column `Complex_CoT`"):
        build("medical-o1", tmp_path, tmp_path / "out")
