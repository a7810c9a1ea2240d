"""Reports in tables and in data folders."""

from pathlib import Path

import pytest
from data.made import build, jsonl, rejected, samples, save_images

from lowmed.data.audit.report import baselines
from lowmed.data.folder import load
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.validate import reads_back
from lowmed.errors import RecipeError
from lowmed.nano import phantom_report

TEXT = "Findings: The heart is large.\nNo fluid, no air.\n\nImpression: 1) Cardiomegaly; A) stable."


def table(folder: Path, column: str = "report") -> Path:
    save_images(folder, "a.png", "b.png", "c.png", "d.png", "e.png")
    rows = [{"image": "a.png", column: TEXT}, {"image": "b.png;c.png", column: "Yes"}, {"image": "d.png", column: " "}]
    return jsonl(folder / "t.jsonl", *rows, {"image": "e.png", column: "XXXX, XXXX."})


@pytest.mark.parametrize(("column", "mapping"), [("report", {}), ("text", {"answer": "text"})])
def test_a_table_of_reports_needs_neither_questions_nor_kinds(
    tmp_path: Path, column: str, mapping: dict[str, str]
) -> None:
    options = ImportOptions(columns={"kind": "report", **mapping})
    build(table(tmp_path, column), tmp_path / "out", import_options=options, max_rejected=0.5)
    first, second = samples(tmp_path / "out")
    assert (first["kind"], second["kind"], second["answer"], len(second["images"])) == ("report", "report", "Yes", 2)
    assert first["answer"].splitlines() == TEXT.splitlines()
    assert first["question"] == "Write a radiology report of this image."
    reasons = {line: reason for _, line, reason in rejected(tmp_path / "out")}
    assert reasons == {3: "the report is empty", 4: "the report has no words, or only marks of de-identification"}


def test_a_column_of_kinds_may_say_report(tmp_path: Path) -> None:
    save_images(tmp_path, "a.png", "b.png")
    rows = [
        {"image": "a.png", "question": "Report it.", "answer": TEXT, "kind": "Report"},
        {"image": "b.png", "question": "Is the heart large?", "answer": "yes", "kind": "closed"},
    ]
    build(jsonl(tmp_path / "t.jsonl", *rows), tmp_path / "out")
    assert [sample["kind"] for sample in samples(tmp_path / "out")] == ["report", "closed"]


def test_a_folder_rejects_reports_without_words_by_line(tmp_path: Path) -> None:
    save_images(tmp_path, "a.png")
    row = {"question": "Report it.", "kind": "report", "images": ["a.png"]}
    rows = ({**row, "id": str(number), "answer": text} for number, text in enumerate((TEXT, "", "___")))
    jsonl(tmp_path / "samples.jsonl", *rows)
    data = load(str(tmp_path))
    assert [sample.answer for sample in data.samples] == [TEXT]
    assert [row.where for row in data.rejected] == ["samples.jsonl:2", "samples.jsonl:3"]


def test_a_question_without_a_column_is_still_an_error_for_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no column `open`"):
        build(table(tmp_path), tmp_path / "out", import_options=ImportOptions(columns={"kind": "open"}))


def test_reports_read_back_and_have_no_accuracy_without_images() -> None:
    train, test = phantom_report.samples("train", 30), phantom_report.samples("test", 30)
    assert all(map(reads_back, train))
    assert baselines({"train": train, "test": test}) == {}


def test_reports_of_phantom_describe_its_images() -> None:
    texts = {sample.answer for sample in phantom_report.samples("train", 300)}
    assert {len(text.split(". ")) for text in texts} == {1, 2, 3}
    assert any("no lesion" in text for text in texts) and any("four lesions" in text for text in texts)
