"""The commands of `lowmed data`."""

import json
from pathlib import Path

import pytest
from data.made import jsonl, lines, row, samples, save_images
from typer.testing import CliRunner, Result

from lowmed.cli.data import app
from lowmed.data.ingest import pseudonyms
from lowmed.data.load import load
from lowmed.data.split import split_data
from lowmed.errors import DataError, LowmedError, RecipeError, SetupError
from lowmed.recipe import DataSpec


@pytest.fixture(autouse=True)
def own_salt(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: str | Path) -> LowmedError:
    error = run(*arguments).exception
    assert isinstance(error, LowmedError)
    return error


@pytest.fixture
def table(tmp_path: Path) -> Path:
    save_images(tmp_path, *(f"{number}.png" for number in range(6)))
    rows = [row(n, f"{n}.png", split="test" if n > 3 else "train", patient=f"p{n}") for n in range(6)]
    return jsonl(tmp_path / "t.jsonl", *rows)


def test_prepare_audit_and_show_accept_a_clean_table(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared = run("prepare", table, "--out", out)
    assert prepared.exit_code == 0, prepared.output
    assert "6 rows" in prepared.stdout
    assert "question=question?" in prepared.stderr
    audited = run("audit", out)
    assert audited.exit_code == 0, audited.output
    assert "no blocking problems found" in audited.stdout
    assert (out / "audit.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads((out / "audit.json").read_text())["verdict"] == "pass"
    shown = run("show", out, "--questions", "1", "--prompts", "direct")
    assert shown.exit_code == 0, shown.output
    assert (out / "show.html").is_file()
    assert "<answer>" in shown.stdout


def test_a_leak_exits_with_1_and_resplit_writes_a_clean_split(table: Path, tmp_path: Path) -> None:
    leaking = [*lines(table), row(9, "0.png", split="test", patient="p0")]
    run("prepare", jsonl(table, *leaking), "--out", tmp_path / "out")
    audited = run("audit", tmp_path / "out", "--resplit", "patient")
    assert audited.exit_code == 1
    assert "WRONG" in audited.stdout
    clean = tmp_path / "out/samples.by-patient.jsonl"
    assert run("audit", clean).exit_code == 0
    assert sorted(line["id"] for line in lines(clean)) == sorted(line["id"] for line in samples(tmp_path / "out"))
    before = clean.read_bytes()
    run("audit", tmp_path / "out", "--resplit", "patient")
    assert clean.read_bytes() == before


@pytest.mark.parametrize("verb", ["sources", "prepare", "audit", "show"])
def test_json_is_one_document_on_stdout(table: Path, tmp_path: Path, verb: str) -> None:
    run("prepare", table, "--out", tmp_path / "out")
    place = {"sources": (), "prepare": (table, "--out", tmp_path / "again")}.get(verb, (tmp_path / "out",))
    result = run(verb, *place, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)


def test_images_are_stored_with_the_budget_of_the_recipe(table: Path, tmp_path: Path) -> None:
    run("prepare", table, "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out/card.json").read_text())["max_image_tokens"] == 256
    run("prepare", table, "--out", tmp_path / "out", "--max-image-tokens", "64")
    assert json.loads((tmp_path / "out/card.json").read_text())["max_image_tokens"] == 64


@pytest.mark.parametrize(
    ("arguments", "kind", "expected"),
    [
        (("vqa_rad",), RecipeError, "did you mean `vqa-rad`"),
        (("nothing like it",), RecipeError, "is not a known source, file, folder or hub id"),
        (("gone.csv",), DataError, "no such file"),
        (("t.jsonl", "--path", "x"), RecipeError, "--path is for known sources"),
        (("t.jsonl", "--map", "question"), RecipeError, "not of the form"),
        (("t.jsonl", "--map", "question=Frage"), RecipeError, "no column `Frage`"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    table: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], kind: type[LowmedError], expected: str
) -> None:
    monkeypatch.chdir(table.parent)
    error = refused("prepare", *arguments, "--out", "out")
    assert isinstance(error, kind)
    assert expected in error.what
    assert error.fix
    assert not (table.parent / "out").exists()


def test_a_hub_id_offline_names_the_alternative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOWMED_OFFLINE", "1")
    error = refused("prepare", "somebody/set", "--out", tmp_path / "out")
    assert isinstance(error, SetupError)
    assert "download it" in error.fix


def test_a_folder_without_samples_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for verb in ("audit", "show"):
        assert "samples.jsonl" in str(refused(verb, tmp_path / "empty"))


def test_the_salt_is_generated_once_and_readable_by_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first = pseudonyms.read_salt()
    assert pseudonyms.read_salt() == first
    assert len(first) == 32
    file = tmp_path / "lowmed/salt"
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(b"short")
    with pytest.raises(SetupError, match="too short"):
        pseudonyms.read_salt()


def test_two_machines_make_the_same_split_from_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    references = [f"{number}.png" for number in range(60)]
    save_images(tmp_path, *references)
    rows = [
        {"image": image, "question": question, "answer": answer, "patient": f"Patient {number // 2}"}
        for number, image in enumerate(references)
        for question, answer in (("Is there a mass?", "yes" if number % 3 else "no"), ("Is it large?", "no"))
    ]
    splits, groups = [], []
    for machine, table in (("a", rows), ("b", rows[::-1])):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / machine))
        jsonl(tmp_path / f"{machine}.jsonl", *table)
        assert run("prepare", tmp_path / f"{machine}.jsonl", "--out", tmp_path / f"data-{machine}").exit_code == 0
        spec = DataSpec(source="folder", path=str(tmp_path / f"data-{machine}"))
        splits.append(split_data(load("folder", spec.path), spec, 0))
        groups.append({sample.group for sample in splits[-1].train})
    assert groups[0].isdisjoint(groups[1])  # the pseudonyms differ
    parts = [{(row.images, row.question) for row in split.held_out["held-out"]} for split in splits]
    assert parts[0] == parts[1]
    assert len(parts[0]) == 24
    assert splits[0].digest == splits[1].digest


def test_a_missing_file_in_a_folder_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    error = refused("prepare", "data/gone", "--out", tmp_path / "out")
    assert (error.what, error.where) == ("no such file or folder", "data/gone")
