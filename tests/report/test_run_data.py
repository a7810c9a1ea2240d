"""The data section of the report page: correct figures of the run, and nothing that identifies a patient."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from lowmed.cli.data import app as data
from lowmed.data.load import load
from lowmed.data.run_identity import store_data
from lowmed.data.split import split_data
from lowmed.files import read_json, write_json
from lowmed.recipe.io import load_recipe
from lowmed.report import page, run_data
from lowmed.report.run_report import read
from lowmed.run import Run, create_run

PATIENTS = ("Mueller", "Schmidt", "Yilmaz", "Nowak")


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run on eight prepared questions about four named patients' films, one of which is missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    rows = ["id,image,question,answer,kind,group,split"]
    for number, patient in enumerate(PATIENTS):
        if patient != "Nowak":
            Image.new("L", (700 + 10 * number, 400), 40 * number).save(f"{patient}.png")
        split = "test" if patient == "Yilmaz" else "train"
        for question, answer in (("Is there a mass?", "no"), ("Is it the left lung?", "yes")):
            rows.append(f"{patient}-{question[:5]},{patient}.png,{question},{answer},closed,{patient},{split}")
    Path("rows.csv").write_text("\n".join([*rows, "again,Mueller.png,Is there a mass?,yes,closed,Mueller,train", ""]))
    for command in (["prepare", "rows.csv", "--out", "data", "--max-rejected", "0.5"], ["audit", "data"]):
        assert CliRunner().invoke(data, command, catch_exceptions=False).exit_code == 0
    recipe = load_recipe("rarl", ["data.source=folder", "data.path=data", "data.split_by=official"], nano=True)
    run = create_run(recipe, "rarl", out="run")
    data_split = split_data(load("folder", "data"), recipe.data, recipe.seed)
    run.update(status="finished", steps=1, seconds=1.0, data_digest=data_split.digest)
    store_data(run.folder, data_split)
    return run


def test_the_page_shows_counts_leaks_baselines_sizes_and_rejected_rows(prepared: Run) -> None:
    result = run_data.data_summary(prepared)
    train, test = result["parts"]["train"], result["parts"]["test"]
    assert (train["rows"], train["images"], train["patients"], train["yes_no"]) == (5, 2, 2, 5)
    assert (test["rows"], test["images"], test["patients"]) == (2, 1, 1)
    assert (result["leaks"], result["held_out_shared"]) == ([], [])
    assert (result["repeats"]["duplicates"], result["repeats"]["conflicts"]) == (1, 1)
    assert result["floor"]["test"]["all"] == 1.0  # the training answers to the same two questions
    assert result["sizes"]["width"] == (700, 710, 720)
    assert (result["sizes"]["images"], result["sizes"]["shrunk"], result["sizes"]["budget"]) == (3, 3, 256)
    assert (result["prepared"]["rows"], result["prepared"]["rejected"]) == (7, 2)
    assert result["audit"]["looked_at"] == 3


def test_the_page_names_no_patient_or_file(prepared: Run) -> None:
    html = page.render(read(prepared), {}, run_data.data_summary(prepared))
    assert "2 rejected for 1 reason" in html
    sample = json.loads(Path("data/samples.jsonl").read_text().splitlines()[0])
    rejected = json.loads(Path("data/rejected.jsonl").read_text().splitlines()[0])
    for private in (
        *PATIENTS,
        sample["group"],
        sample["id"],
        sample["images"][0],
        rejected["file"],
        rejected["reason"],
    ):
        assert private not in html, private


def test_shared_images_are_listed_and_those_between_held_out_parts_are_not_a_leak(prepared: Run) -> None:
    ids = read_json(prepared.folder / "split.json")
    write_json(
        prepared.folder / "split.json",
        {"train": ids["train"][:1], "a": ids["train"][1:2], "b": ids["test"][:1], "c": ids["test"][1:]},
    )
    result = run_data.data_summary(prepared)
    assert result["leaks"][0] == "1 of 1 a images are also in train (1 of 1 questions)"
    assert result["held_out_shared"][0] == "1 of 1 c images are also in b (1 of 1 questions)"
    html = page.render(read(prepared), {}, result)
    assert '<p class="warn">1 of 1 a images are also in train' in html


def test_other_data_and_moved_data_are_reported_as_missing(prepared: Run) -> None:
    file = Path("data/samples.jsonl")
    text = file.read_text()
    file.write_text(text.replace("left lung", "right lung"))
    assert "not the data that the run was trained on" in run_data.data_summary(prepared)["missing"]
    file.write_text(text)
    Path("data").rename("moved")
    result = run_data.data_summary(prepared)
    assert "not where the run read them" in result["missing"]
    assert result["missing"] in page.render(read(prepared), {}, result)
    assert "missing" not in run_data.data_summary(prepared, "moved")


def test_an_audit_of_other_samples_is_ignored(prepared: Run) -> None:
    samples = Path("data/samples.jsonl")
    samples.write_text(samples.read_text().replace("left lung", "right lung"))
    store_data(prepared.folder, split_data(load("folder", "data"), prepared.recipe.data, prepared.recipe.seed))
    assert run_data.data_summary(prepared)["audit"] is None


def test_a_reward_without_values_does_not_break_the_page(prepared: Run) -> None:
    prepared.append(
        "metrics.jsonl",
        [{"step": at, "reward": 0.5, "rewards/accuracy": 0.5, "rewards/reasoning": None} for at in (1, 2)],
    )
    assert "<td>accuracy</td>" in page.render(read(prepared), {}, run_data.data_summary(prepared))


def test_a_run_of_an_earlier_version_has_no_figures_of_its_data(prepared: Run) -> None:
    (prepared.folder / "data_rows.jsonl").unlink()
    assert run_data.data_summary(prepared) == {"missing": "the run does not say which data it was trained on"}
