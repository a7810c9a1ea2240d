"""Strata of the user's choice: read from tables and folders, shown by value, refused if they may identify patients."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.data.folder import load
from lowmed.data.strata import check_strata, strata_of
from lowmed.errors import DataError

LINE = {"images": [], "question": "Is there a fracture?", "answer": "no", "kind": "closed"}


def _folder(folder: Path, *strata: dict[str, Any] | None) -> str:
    folder.mkdir(exist_ok=True)
    lines = [{"id": str(at), **LINE, **({} if one is None else {"strata": one})} for at, one in enumerate(strata)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder)


def _prepare(folder: Path, columns: dict[str, list[str]], mapping: str) -> list[dict[str, Any]]:
    count = len(next(iter(columns.values())))
    rows = [["image", "question", "answer", *columns]]
    for at in range(count):
        Image.new("RGB", (32, 32), (at, 2 * at, 90)).save(folder / f"{at}.png")
        rows.append([f"{at}.png", "Is there a fracture?", "yes", *(values[at] for values in columns.values())])
    (folder / "t.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    arguments = ["data", "prepare", str(folder / "t.csv"), "--map", mapping, "--out", str(folder / "out")]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    return [json.loads(line) for line in (folder / "out" / "samples.jsonl").read_text().splitlines()]


def test_strata_are_read_from_a_folder(tmp_path: Path) -> None:
    path = _folder(tmp_path / "d", {"site": "A", "sex": "f"}, {"site": "B", "sex": ""}, None)
    samples = load(path).samples
    assert [sample.strata for sample in samples] == [(("sex", "f"), ("site", "A")), (("site", "B"),), ()]
    assert len({hash(sample) for sample in samples}) == 3


def test_strata_do_not_change_the_digest_of_the_data(tmp_path: Path) -> None:
    with_strata, without = _folder(tmp_path / "a", {"site": "A"}), _folder(tmp_path / "b", None)
    assert load(with_strata).digest == load(without).digest


def test_strata_are_read_from_the_columns_of_a_table(tmp_path: Path) -> None:
    rows = _prepare(tmp_path, {"Site": ["A", "B", "A"], "age": ["40-60", "", "60+"]}, "strata=Site+age")
    assert [row["strata"] for row in rows] == [
        {"Site": "A", "age": "40-60"},
        {"Site": "B"},
        {"Site": "A", "age": "60+"},
    ]
    assert len(load(str(tmp_path / "out")).samples) == 3


def test_a_column_with_a_plus_in_its_name_is_one_column(tmp_path: Path) -> None:
    rows = _prepare(tmp_path, {"T1+C": ["yes", "no"]}, "strata=T1+C")
    assert [row["strata"] for row in rows] == [{"T1+C": "yes"}, {"T1+C": "no"}]


def test_no_column_becomes_a_stratum_without_the_user(tmp_path: Path) -> None:
    rows = _prepare(tmp_path, {"sex": ["f", "m"]}, "question=question")
    assert all("strata" not in row for row in rows)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([f"s{at}" for at in range(21)], "has more than 20 different values"),
        ([f"p{at}" for at in range(8)], "has another value in every row"),
        (["1961-03-04", "A", "A"], "contains a date"),
        (["19610304", "A", "A"], "contains a date"),
        (["MRN 48213", "A", "A"], "contains what looks like a patient's number"),
        (["Mustermann^Max", "A", "A"], "contains a name as DICOM writes it"),
        (["no contrast was given because of an allergy to it", "A"], "has a value of 49 characters"),
    ],
)
def test_a_column_that_may_identify_patients_is_refused(tmp_path: Path, values: list[str], problem: str) -> None:
    with pytest.raises(DataError) as raised:
        _prepare(tmp_path, {"x": values}, "strata=x")
    assert problem in raised.value.what
    assert not any(value in str(raised.value) for value in values)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match=problem):
        load(_folder(tmp_path / "d", *({"x": value} for value in values)))


@pytest.mark.parametrize(
    "values", [["f", "m"], ["A", "B", "C", "D"], ["Siemens Skyra"] * 3, ["63", "64", "63", "64", "65"]]
)
def test_short_categories_are_accepted(values: list[str]) -> None:
    check_strata(((("x", value),) for value in values), "here")


def test_a_list_is_not_a_stratum() -> None:
    with pytest.raises(ValueError, match="holds a list"):
        strata_of({"site": ["A", "B"]})


def test_score_shows_strata_and_warns_of_few_rows(tmp_path: Path) -> None:
    rows = [
        {"id": at, "question": f"Is it {at}?", "answer": "yes", "completion": "yes" if at % 3 else "no",
         "group": f"g{at}", "site": "A" if at < 40 else "B", "sex": "fm"[at % 2]}
        for at in range(60)
    ]  # fmt: skip
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["score", str(path), "--map", "strata=site+sex", "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {name: cell["n"] for name, cell in summary["by_strata"]["site"].items()} == {"A": 40, "B": 20}
    assert summary["by_strata"]["sex"]["f"]["accuracy_by_image"][0] < summary["by_strata"]["sex"]["f"]["accuracy"]
    assert "site B (few)" in shown
    assert "TOO FEW DATA for a stable figure: site B (under 30 questions or 10 images)" in shown
    folders = [str(tmp_path / "out")] * 2
    compared = json.loads(CliRunner().invoke(app, ["compare", *folders, "--json"], catch_exceptions=False).stdout)
    assert set(compared["sources"]["all"]["by_strata"]) == {"site", "sex"}


def test_score_refuses_an_identifier_as_a_stratum(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = ({"id": at, "question": "?", "answer": "yes", "completion": "yes", "patient": f"p{at}"} for at in range(8))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = CliRunner().invoke(app, ["score", str(path), "--map", "strata=patient"])
    assert isinstance(result.exception, DataError)
