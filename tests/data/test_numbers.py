"""Numbers with limits and units: from a table to a graded answer."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lowmed.answer import grade, read
from lowmed.cli import app
from lowmed.data.folder import load
from lowmed.sample import Sample

TABLE = """id,Question,Ground Truth Answer,Lower Limit,Upper Limit,Output Type,units
1,What is the GFR?,83.072,78.9184,87.2256,decimal,mL/min
2,What is the score?,3,3,3,integer,
3,When is the due date?,01/24/2020,01/24/2020,01/24/2020,date,
4,What is the diagnosis?,gout,,,text answer,
"""


def prepared(folder: Path) -> tuple[Sample, ...]:
    (folder / "t.csv").write_text(TABLE)
    arguments = ["data", "prepare", str(folder / "t.csv"), "--out", str(folder / "out")]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    return load(str(folder / "out")).samples


def test_rows_with_limits_become_numbers_and_others_stay_open(tmp_path: Path) -> None:
    samples = {sample.id: sample for sample in prepared(tmp_path)}
    assert [samples[name].kind for name in "1234"] == ["number", "number", "number", "open"]
    assert (samples["1"].lower, samples["1"].upper, samples["1"].unit) == ("78.9184", "87.2256", "mL/min")


def test_answers_within_the_limits_are_right(tmp_path: Path) -> None:
    samples = {sample.id: sample for sample in prepared(tmp_path)}

    def outcome(name: str, completion: str) -> str:
        return grade(read(completion, samples[name]), samples[name]).outcome

    assert outcome("1", "<answer>85 mL/min</answer>") == "correct"
    assert outcome("1", "GFR = 141 x 0.59 = 83.1 mL/min") == "correct"
    assert outcome("1", "<answer>88</answer>") == outcome("1", "<answer>85 mg/dL</answer>") == "incorrect"
    assert outcome("1", "between 80 and 90") == "unread"
    assert outcome("2", "<answer>3 points</answer>") == "correct"
    assert outcome("3", "The due date is January 24, 2020.") == "correct"
    assert outcome("3", "<answer>01/25/2020</answer>") == "incorrect"


def test_the_digest_of_data_without_numbers_does_not_depend_on_the_number_fields(tmp_path: Path) -> None:
    line = {"id": "1", "question": "Where?", "answer": "left", "kind": "open"}
    digests = []
    for name, extra in (("a", {}), ("b", {"unit": "", "lower": "", "upper": ""}), ("c", {"unit": "cm"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "samples.jsonl").write_text(json.dumps({**line, **extra}) + "\n")
        digests.append(load(str(tmp_path / name)).digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "completion",
    [
        "<answer>83.072 or 12</answer>",
        "<answer>83, 90, 100</answer>",
        "<answer>83.072 90 100</answer>",
        "<answer>83.1 mL/min; 90 mL/min</answer>",
        "<answer>perhaps 83 or perhaps less</answer>",
        "<answer>between 80 and 90</answer>",
        "<answer>80-90</answer>",
        "<answer>more than 80</answer>",
    ],
)
def test_several_numbers_and_ranges_are_no_answer(completion: str) -> None:
    sample = Sample("1", "GFR?", "83.072", "number", "g", "s", unit="mL/min", lower="78.9", upper="87.2")
    assert grade(read(completion, sample), sample).outcome == "unread"


def test_a_tolerance_becomes_limits_and_one_that_does_not_fit_rejects_its_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "question,answer,unit,tolerance\n"
        "How long is it?,12,mm,2 mm\n"
        "Which angle?,30°,,10%\n"
        "Which fraction?,35 %,,2 mm\n"
        "Which side?,left,,5%\n"
        "How many lesions?,4,,\n"
    )
    arguments = ["data", "prepare", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"), "--max-rejected", "0.5"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    length, angle, count = load(str(tmp_path / "out")).samples
    assert (length.kind, length.lower, length.upper, angle.lower, count.kind) == ("number", "10", "14", "27.00", "open")
    assert grade(read("<answer>1.35 cm</answer>", length), length).outcome == "correct"
    assert grade(read("<answer>15 mm</answer>", length), length).outcome == "incorrect"
    shown = " ".join(result.output.split())
    assert "the tolerance is in mm and the answer in % (first: t.csv:4)" in shown
    assert "`left` is not one number, so it has no tolerance of `5%` (first: t.csv:5)" in shown
