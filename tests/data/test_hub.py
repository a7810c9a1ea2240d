"""Hub data sets, by the library's own path from Parquet files that are made here."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lowmed.data.group_split import shared_images
from lowmed.data.ingest import hub
from lowmed.errors import DataError, SetupError

LOCAL_FORM = "samples.jsonl"
Columns = dict[str, list[Any]]


def picture(shade: int) -> dict[str, Any]:
    stored = io.BytesIO()
    Image.new("L", (64, 64), shade).save(stored, "PNG")
    return {"bytes": stored.getvalue(), "path": None}


def publish(folder: Path, split: str, columns: Columns) -> str:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    kinds = {
        name: ImageFeature() if cells and isinstance(cells[0], dict) else Value("string")
        for name, cells in columns.items()
    }
    Dataset.from_dict(columns, features=Features(kinds)).to_parquet(folder / f"{split}.parquet")
    return str(folder)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.delenv("LOWMED_OFFLINE", raising=False)


def test_rows_become_samples_and_a_shared_picture_has_one_reference(tmp_path: Path) -> None:
    publish(tmp_path, "test", {"image": [picture(9)], "question": ["Left or right?"], "answer": ["left"]})
    where = publish(
        tmp_path,
        "train",
        {"image": [picture(9), picture(200)], "question": ["A  fracture?", "Organ?"], "answer": ["Yes ", "lung"]},
    )
    loaded = hub.load("vqa-rad", where, LOCAL_FORM)
    first, second = loaded.splits["train"]
    assert (first.question, first.answer, first.kind, second.kind) == ("A fracture?", "Yes", "closed", "open")
    assert shared_images(loaded.splits["train"], loaded.splits["test"]) == {first.images[0]} == {first.group}
    assert loaded.open_image(second.images[0]).getpixel((5, 5)) == 200
    with pytest.raises(DataError, match="no such picture"):
        loaded.open_image("elsewhere")


def test_ids_survive_another_order_of_the_rows(tmp_path: Path) -> None:
    questions: Columns = {"image": [picture(9), picture(200)], "question": ["One?", "Two?"], "answer": ["a", "b"]}
    turned = {name: cells[::-1] for name, cells in questions.items()}
    (tmp_path / "there").mkdir()
    (tmp_path / "back").mkdir()
    there = hub.load("x", publish(tmp_path / "there", "train", questions), LOCAL_FORM)
    back = hub.load("x", publish(tmp_path / "back", "train", turned), LOCAL_FORM)
    assert there.digest == back.digest
    assert [sample.id for sample in there.samples] == [sample.id for sample in back.samples][::-1]


def test_columns_are_found_by_their_usual_names(tmp_path: Path) -> None:
    columns: Columns = {
        "Image": [picture(9)],
        "Question": ["What?"],
        "short_answer": ["mass"],
        "Explanation": ["A mass."],
    }
    (sample,) = hub.load("silvar-med", publish(tmp_path, "train", columns), LOCAL_FORM).samples
    assert (sample.answer, sample.explanation, sample.source) == ("mass", "A mass.", "silvar-med")


def test_a_missing_column_and_a_column_of_paths_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    unanswered: Columns = {"image": [picture(9)], "question": ["What?"], "speech": ["a.wav"]}
    with pytest.raises(DataError, match=r"no column for answer.*there are image, question, speech"):
        hub.load("silvar-med", publish(tmp_path / "a", "train", unanswered), LOCAL_FORM)
    paths: Columns = {"image": ["a.png"], "question": ["What?"], "answer": ["mass"]}
    with pytest.raises(DataError, match="not pictures") as caught:
        hub.load("silvar-med", publish(tmp_path / "b", "train", paths), LOCAL_FORM)
    assert "samples.jsonl" in caught.value.fix


def test_rows_that_cannot_be_used_are_rejected_by_name(tmp_path: Path) -> None:
    columns: Columns = {
        "image": [picture(9), None, {"bytes": b"no picture", "path": None}, picture(9), picture(9)],
        "question": ["One?", "Two?", "Three?", "Four?", "One?"],
        "answer": ["a", "b", "c", None, "a"],
    }
    loaded = hub.load("x", publish(tmp_path, "train", columns), LOCAL_FORM)
    assert len(loaded.samples) == 1
    assert [rejected.where for rejected in loaded.rejected] == [f"train, row {number}" for number in (1, 2, 3, 4)]
    assert [rejected.reason for rejected in loaded.rejected][::2] == ["no image", "no answer"]


def test_offline_is_an_error_before_anything_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWMED_OFFLINE", "1")
    with pytest.raises(SetupError, match="LOWMED_OFFLINE") as caught:
        hub.load("vqa-rad", "flaviagiammarino/vqa-rad", "vqa_rad_public.json and images/")
    assert "data.path" in caught.value.fix
    assert "vqa_rad_public.json" in caught.value.fix


def test_a_hub_that_cannot_be_reached_is_a_setup_error_that_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(SetupError, match="could not be loaded from the hub") as caught:
        hub.load("silvar-med", "Hanhpt23/Silvar-Med", LOCAL_FORM)
    assert "samples.jsonl" in caught.value.fix
