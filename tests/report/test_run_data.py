"""What the page says of the data: figures that are true of the run, and nothing of anybody in them."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from lowmed import run as runs
from lowmed.cli.data import app as data
from lowmed.data.load import load
from lowmed.data.split import split_data
from lowmed.recipe import io
from lowmed.report import page, run_data
from lowmed.report.record import read
from lowmed.run import Run

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
    plan = io.load_recipe("rarl", ["data.source=folder", "data.path=data", "data.split_by=official"], nano=True)
    run = runs.create_run(plan, "rarl", out="run")
    division = split_data(load("folder", "data"), plan.data, plan.seed)
    run.update(status="finished", updates=1, seconds=1.0, data_digest=division.digest)
    runs.write_json(run.folder / "split.json", division.ids())
    return run


def test_the_page_tells_counts_leaks_floors_sizes_and_what_was_left_out(prepared: Run) -> None:
    found = run_data.data_summary(prepared)
    train, test = found["parts"]["train"], found["parts"]["test"]
    assert (train["rows"], train["images"], train["patients"], train["yes_no"]) == (5, 2, 2, 5)
    assert (test["rows"], test["images"], test["patients"]) == (2, 1, 1)
    assert (found["leaks"], found["held_out_shared"]) == ([], [])
    assert (found["repeats"]["duplicates"], found["repeats"]["conflicts"]) == (1, 1)
    assert found["floor"]["test"]["all"] == 1.0  # the training answers to the same two questions
    assert found["sizes"]["width"] == (700, 710, 720)
    assert (found["sizes"]["images"], found["sizes"]["shrunk"], found["sizes"]["budget"]) == (3, 3, 256)
    assert (found["prepared"]["rows"], found["prepared"]["rejected"]) == (7, 2)
    assert found["audit"]["looked_at"] == 3


def test_nobody_is_named_on_the_page(prepared: Run) -> None:
    html = page.render(read(prepared), {}, run_data.data_summary(prepared))
    assert "2 kept out for 1 reason" in html
    sample = json.loads(Path("data/samples.jsonl").read_text().splitlines()[0])
    told = json.loads(Path("data/rejected.jsonl").read_text().splitlines()[0])
    for private in (*PATIENTS, sample["group"], sample["id"], sample["images"][0], told["file"], told["reason"]):
        assert private not in html, private


def test_shared_images_are_told_and_those_between_held_out_parts_are_no_leak(prepared: Run) -> None:
    ids = runs.read_json(prepared.folder / "split.json")
    runs.write_json(
        prepared.folder / "split.json",
        {"train": ids["train"][:1], "a": ids["train"][1:2], "b": ids["test"][:1], "c": ids["test"][1:]},
    )
    found = run_data.data_summary(prepared)
    assert found["leaks"][0] == "1 of 1 a images are also in train (1 of 1 questions)"
    assert found["held_out_shared"][0] == "1 of 1 c images are also in b (1 of 1 questions)"
    html = page.render(read(prepared), {}, found)
    assert '<p class="warn">1 of 1 a images are also in train' in html


def test_other_data_or_none_are_said_to_be_missing(prepared: Run) -> None:
    file = Path("data/samples.jsonl")
    text = file.read_text()
    file.write_text(text.replace("left lung", "right lung"))
    assert "not those" in run_data.data_summary(prepared)["missing"]
    file.write_text(text)
    Path("data").rename("moved")
    found = run_data.data_summary(prepared)
    assert "not where the run found them" in found["missing"]
    assert found["missing"] in page.render(read(prepared), {}, found)
    assert "missing" not in run_data.data_summary(prepared, "moved")


def test_an_audit_of_other_samples_is_not_told(prepared: Run) -> None:
    card = Path("data/card.json")
    card.write_text(card.read_text().replace(json.loads(card.read_text())["samples_sha256"], "0" * 64))
    assert run_data.data_summary(prepared)["audit"] is None


def test_a_reward_that_had_nothing_to_say_leaves_the_page_whole(prepared: Run) -> None:
    prepared.append(
        "metrics.jsonl",
        [{"update": at, "reward": 0.5, "rewards/accuracy": 0.5, "rewards/reasoning": None} for at in (1, 2)],
    )
    assert "<td>accuracy</td>" in page.render(read(prepared), {}, run_data.data_summary(prepared))
