"""A user's folder: `samples.jsonl` and its images."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lowmed.data import folder
from lowmed.data.split import split_data
from lowmed.errors import DataError
from lowmed.recipe import DataSpec


def line(**changes: Any) -> str:
    fields = {"id": "1", "images": ["a.png"], "question": "Fracture?", "answer": "no", "kind": "closed", **changes}
    return json.dumps({key: value for key, value in fields.items() if value is not ...})


def write(path: Path, *lines: str, encoding: str = "utf-8") -> str:
    Image.effect_noise((64, 64), 50).save(path / "a.png")
    (path / folder.FILE).write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(path)


def test_fields_reach_the_sample_and_missing_ones_have_defaults(tmp_path: Path) -> None:
    choice = {"kind": "choice", "options": ["left", "right"], "answer": "right"}
    loaded = folder.load(write(tmp_path, line(), "", line(id=2, group="patient 9", modality="CT", **choice)))
    first, second = loaded.splits["train"]
    assert (first.group, first.source, first.modality) == ("a.png", "folder", "")
    assert (second.id, second.group, second.modality, second.letter) == ("2", "patient 9", "CT", "B")
    assert loaded.open_image("a.png").size == (64, 64)


def test_splits_are_those_of_the_lines(tmp_path: Path) -> None:
    loaded = folder.load(write(tmp_path, line(split="train"), line(id="2", split="test")))
    assert {name: len(samples) for name, samples in loaded.splits.items()} == {"train": 1, "test": 1}


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ('{"id": "2", ', "samples.jsonl:2"),
        ("[1, 2]", "samples.jsonl:2"),
        (line(id="2", anwser="no"), "`anwser` is not a field"),
        (line(id="2", kind="yesno"), "kind: "),
        (line(id=..., kind="open"), "id: "),
        (line(id="2", images="a.png"), "images: "),
        (line(id="2", answer=True), "answer: "),
        (line(id="1"), "id `1` is used 2 times"),
        (line(id="2", split="test"), "samples.jsonl:1  no `split`"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, second: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        folder.load(write(tmp_path, line(), second))
    assert expected in str(caught.value)
    assert "samples.jsonl:" in caught.value.where


def test_several_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="7 mistakes") as caught:
        folder.load(write(tmp_path, line(), *["{"] * 7))
    assert "samples.jsonl:6" in caught.value.where
    assert "and 2 more" in caught.value.where


def test_unusable_lines_are_rejected_by_name(tmp_path: Path) -> None:
    lines = [
        line(),
        line(id="2", answer=""),
        line(id="3", answer=None),
        line(id="4", images=["gone.png"]),
        line(id="5", images=["a.png", "../b.png"]),
        line(id="6", kind="choice", options=["yes", "maybe"]),
        line(id=" "),
    ]
    loaded = folder.load(write(tmp_path, *lines))
    assert [sample.id for sample in loaded.samples] == ["1"]
    assert [rejected.where for rejected in loaded.rejected] == [f"samples.jsonl:{number}" for number in range(2, 8)]


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    loaded = folder.load(write(tmp_path, json.dumps(json.loads(line(question="a\u2028b")), ensure_ascii=False)))
    assert loaded.samples[0].question == "a\u2028b"


def test_a_byte_order_mark_is_accepted_but_not_another_encoding(tmp_path: Path) -> None:
    assert len(folder.load(write(tmp_path, line(), encoding="utf-8-sig")).samples) == 1
    (tmp_path / folder.FILE).write_bytes(line(question="Läsion?").encode("utf-16"))
    with pytest.raises(DataError, match="UTF-8"):
        folder.load(str(tmp_path))


def test_questions_without_an_image_are_allowed(tmp_path: Path) -> None:
    (sample,) = folder.load(write(tmp_path, line(images=[]))).samples
    assert (sample.images, sample.group) == ((), "1")


def test_an_empty_file_has_no_usable_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row can be used"):
        folder.load(write(tmp_path))


def test_the_same_image_under_two_names_is_kept_in_one_split(tmp_path: Path) -> None:
    for number in range(20):
        Image.new("L", (40, 40), number).save(tmp_path / f"{number}.bmp")
    (tmp_path / "copy.bmp").write_bytes((tmp_path / "7.bmp").read_bytes())
    names = [*(f"{number}.bmp" for number in range(20)), "copy.bmp"]
    table = [{"id": name, "images": [name], "question": "CT?", "answer": "no", "kind": "closed"} for name in names]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    dataset = folder.load(str(tmp_path))
    assert len({sample.images for sample in dataset.samples}) == 20
    assert dataset.unused == ()
    for seed in range(5):
        parts = split_data(dataset, DataSpec(source="folder"), seed).ids()
        assert sum({"7.bmp", "copy.bmp"} <= set(part) for part in parts.values()) == 1
    official = [{**row, "split": "test" if row["id"] == "copy.bmp" else "train"} for row in table]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in official))
    with pytest.raises(DataError, match="1 of the 1 test images of folder also occur in its train split"):
        split_data(folder.load(str(tmp_path)), DataSpec(source="folder", split_by="official"), 0)
