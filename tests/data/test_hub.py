"""Hub data sets, read by the `datasets` library from Parquet files that are generated here."""

import io
from pathlib import Path
from typing import Any

import pytest
from data.made import SETTINGS, rejected, samples
from PIL import Image

from lowmed.data import folder
from lowmed.data.group_split import shared_images
from lowmed.data.ingest import hub
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.ingest.prepare import prepare
from lowmed.data.load import load
from lowmed.data.sources import KNOWN
from lowmed.errors import DataError, RecipeError, SetupError

Table = dict[str, list[Any]]


def image(shade: int) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("L", (64, 64), shade).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def publish(folder: Path, split: str, columns: Table) -> str:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    folder.mkdir(exist_ok=True)
    kinds = {
        name: ImageFeature() if cells and isinstance(cells[0], dict) else Value("string")
        for name, cells in columns.items()
    }
    Dataset.from_dict(columns, features=Features(kinds)).to_parquet(folder / f"{split}.parquet")
    return str(folder)


def read(hub_id: str, out: Path, source: str = "x", max_rejected: float = 0.0) -> list[dict[str, Any]]:
    rows = hub.rows(hub_id, source, ImportOptions(), "use a local copy")
    prepare(rows.entries, out, SETTINGS, {"source": source}, max_rejected=max_rejected)
    return samples(out)


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.delenv("LOWMED_OFFLINE", raising=False)


def test_rows_become_samples_and_a_shared_image_has_one_reference(tmp_path: Path) -> None:
    where = publish(tmp_path / "hub", "test", {"image": [image(9)], "question": ["Left or right?"], "answer": ["left"]})
    train: Table = {"image": [image(9), image(200)], "question": ["A  fracture?", "Organ?"], "answer": ["Yes ", "lung"]}
    publish(tmp_path / "hub", "train", train)
    read(where, tmp_path / "out")
    loaded = folder.load(str(tmp_path / "out"))
    first, second = loaded.splits["train"]
    assert (first.question, first.answer, first.kind, second.kind) == ("A fracture?", "Yes", "closed", "open")
    assert shared_images(loaded.splits["train"], loaded.splits["test"]) == {first.images[0]}
    assert loaded.splits["test"][0].group == first.group
    assert loaded.open_image(second.images[0]).getpixel((5, 5)) == 200
    with pytest.raises(DataError, match="does not exist"):
        loaded.open_image("elsewhere.png")


def test_rows_of_several_splits_keep_their_own_images(tmp_path: Path) -> None:
    count = 60  # more rows than are read to map the columns
    for offset, split in enumerate(("train", "test")):
        shades = [2 * number + offset for number in range(count)]
        questions = [f"Which shade, {split} {shade}?" for shade in shades]
        publish(
            tmp_path / "hub",
            split,
            {"image": [image(shade) for shade in shades], "question": questions, "answer": [str(s) for s in shades]},
        )
    read(str(tmp_path / "hub"), tmp_path / "out")
    loaded = folder.load(str(tmp_path / "out"))
    assert len(loaded.samples) == 2 * count
    for sample in loaded.samples:
        assert loaded.open_image(sample.images[0]).getpixel((5, 5)) == int(sample.answer)


def test_ids_survive_another_order_of_the_rows(tmp_path: Path) -> None:
    questions: Table = {"image": [image(9), image(200)], "question": ["One?", "Two?"], "answer": ["mass", "cyst"]}
    reversed_rows = {name: cells[::-1] for name, cells in questions.items()}
    there = read(publish(tmp_path / "there", "train", questions), tmp_path / "one")
    back = read(publish(tmp_path / "back", "train", reversed_rows), tmp_path / "two")
    assert there == back[::-1]


def test_columns_are_mapped_by_common_names(tmp_path: Path) -> None:
    columns: Table = {"Image": [image(9)], "Question": ["What?"], "short_answer": ["mass"], "Explanation": ["A mass."]}
    (sample,) = read(publish(tmp_path / "hub", "train", columns), tmp_path / "out", "silvar-med")
    assert (sample["answer"], sample["explanation"], sample["source"]) == ("mass", "A mass.", "silvar-med")


def test_a_missing_column_and_a_column_of_paths_are_refused(tmp_path: Path) -> None:
    unanswered: Table = {"image": [image(9)], "question": ["What?"], "speech": ["a.wav"]}
    with pytest.raises(RecipeError, match=r"no column holds the answer; the table has image, question, speech"):
        read(publish(tmp_path / "a", "train", unanswered), tmp_path / "out")
    paths: Table = {"image": ["a.png"], "question": ["What?"], "answer": ["mass"]}
    with pytest.raises(DataError, match="1 of 1 rows are rejected") as caught:
        read(publish(tmp_path / "b", "train", paths), tmp_path / "out")
    assert "does not exist" in caught.value.where


def test_rows_that_cannot_be_used_are_rejected_by_name(tmp_path: Path) -> None:
    columns: Table = {
        "image": [image(9), None, {"bytes": b"not an image", "path": None}, image(9), image(9)],
        "question": ["One?", "Two?", "Three?", "Four?", "One?"],
        "answer": ["mass", "cyst", "scar", None, "mass"],
    }
    where = publish(tmp_path / "hub", "train", columns)
    assert len(read(where, tmp_path / "out", max_rejected=0.9)) == 1
    rows = rejected(tmp_path / "out")
    assert [(file, number) for file, number, _ in rows] == [(f"{where}/train", number) for number in (1, 2, 3, 4)]
    assert [reason for _, _, reason in rows][::2] == ["no image", "no answer"]


@pytest.mark.parametrize("name", ["vqa-rad", "silvar-med", "slake"])
def test_offline_is_an_error_before_any_download(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWMED_OFFLINE", "1")
    with pytest.raises(SetupError, match="LOWMED_OFFLINE") as caught:
        load(name)
    assert "data.path" in caught.value.fix
    assert KNOWN[name].files in caught.value.fix


def test_a_hub_that_cannot_be_reached_is_a_setup_error_that_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(SetupError, match="could not be loaded from the hub") as caught:
        load("silvar-med")
    assert "samples.jsonl" in caught.value.fix


def test_a_hub_data_set_is_imported_into_the_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    columns: Table = {"image": [image(9), image(30)], "question": ["One?", "Two?"], "answer": ["mass", "cyst"]}
    source = replace(KNOWN["vqa-rad"], hub_id=publish(tmp_path / "hub", "train", columns))
    monkeypatch.setitem(KNOWN, "vqa-rad", source)
    first = load("vqa-rad")
    monkeypatch.setattr("lowmed.data.source_cache.prepare", lambda *_, **__: pytest.fail("imported again"))
    assert load("vqa-rad").digest == first.digest
