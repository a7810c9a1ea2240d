"""Tables with one column for each finding become yes/no questions; patients come from a column or from paths."""

from pathlib import Path
from typing import Any

import pytest
from data.made import save_images
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.data.folder import load
from lowmed.errors import LowmedError

TABLE = """Path,Sex,Edema,Pleural_Effusion,Fracture
train/patient001/view1.png,Male,1.0,0.0,
train/patient001/view2.png,Female,-1.0,1.0,0
train/patient002/view1.png,Male,,yes,positive
"""


def prepare(folder: Path, *options: str, table: str = TABLE) -> Any:
    save_images(folder, "train/patient001/view1.png", "train/patient001/view2.png", "train/patient002/view1.png")
    (folder / "t.csv").write_text(table)
    return CliRunner().invoke(app, ["data", "prepare", str(folder / "t.csv"), "--out", str(folder / "out"), *options])


LABELS = ("--labels", "Edema+Pleural_Effusion+Fracture")


def test_each_certain_label_becomes_a_question_with_its_finding_as_topic(tmp_path: Path) -> None:
    result = prepare(tmp_path, *LABELS, "--group-pattern", "patient[0-9]+")
    assert result.exit_code == 0, result.output
    made = load(str(tmp_path / "out")).samples
    assert sorted((sample.topic, sample.answer) for sample in made) == [
        ("edema", "yes"), ("fracture", "no"), ("fracture", "yes"),
        ("pleural effusion", "no"), ("pleural effusion", "yes"), ("pleural effusion", "yes"),
    ]  # fmt: skip
    assert {sample.question for sample in made if sample.topic == "edema"} == {"Does the image show edema?"}
    assert {sample.kind for sample in made} == {"closed"}
    assert "left out  labels without a question: 2 empty, 1 uncertain" in result.output
    assert len({sample.group for sample in made}) == 2
    assert len({sample.images for sample in made}) == 3
    assert "patient001" not in "".join(path.read_text() for path in (tmp_path / "out").glob("*.json*"))


def test_uncertain_and_empty_labels_get_the_answers_of_the_user(tmp_path: Path) -> None:
    result = prepare(tmp_path, *LABELS, "--uncertain", "yes", "--empty", "no", "--question", "Any {label} here?")
    assert result.exit_code == 0, result.output
    made = load(str(tmp_path / "out")).samples
    assert len(made) == 9
    assert sorted(sample.answer for sample in made if sample.question == "Any edema here?") == ["no", "yes", "yes"]
    assert "left out" not in result.output


def test_ids_of_rows_stay_unique(tmp_path: Path) -> None:
    lines = TABLE.splitlines()
    table = "\n".join([f"id,{lines[0]}", *(f"r{number},{line}" for number, line in enumerate(lines[1:]))])
    assert prepare(tmp_path, *LABELS, table=table + "\n").exit_code == 0
    made = load(str(tmp_path / "out")).samples
    assert len({sample.id for sample in made}) == len(made) == 6


def test_a_label_that_is_something_else_rejects_its_row_by_name(tmp_path: Path) -> None:
    result = prepare(tmp_path, *LABELS, "--max-rejected", "0.5", table=TABLE.replace("-1.0", "2"))
    assert "the label `2` is not 1, 0, -1 or empty in column Edema (first: t.csv:3)" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "Edema+Oedema"), "there is no column `Oedema`"),
        ((*LABELS, "--question", "Is it ill?"), "does not contain {label}"),
        ((*LABELS, "--map", "question=Sex"), "--labels fills the field question"),
        ((*LABELS, "--group-pattern", "patient[0-9"), "not a regular expression"),
        ((*LABELS, "--map", "group=Sex", "--group-pattern", "patient"), "has patients in its column `Sex`"),
        (("--uncertain", "yes"), "--uncertain is for columns of findings"),
        ((*LABELS, "--group-pattern", "subject[0-9]+"), "3 of 3 rows|6 of 6 rows"),
    ],
)
def test_mistakes_are_refused_and_nothing_is_written(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    result = prepare(tmp_path, *options)
    assert isinstance(result.exception, LowmedError)
    assert any(part in result.exception.what for part in message.split("|"))
    assert not (tmp_path / "out").exists()


def test_labels_of_a_folder_of_images_are_refused(tmp_path: Path) -> None:
    save_images(tmp_path, "in/a/1.png", "in/b/2.png")
    command = ["data", "prepare", str(tmp_path / "in"), "--as", "classes", *LABELS, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, LowmedError) and result.exception.where == "--labels"
