"""The known sources by name, and what is said when they are not there."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lowmed.data.group_split import shared_images
from lowmed.data.load import SOURCES, load
from lowmed.errors import DataError, RecipeError, SetupError


def test_an_unknown_source_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="did you mean `vqa-rad`") as caught:
        load("vqa_rad")
    assert all(name in caught.value.fix for name in SOURCES)
    with pytest.raises(RecipeError, match="no data source `zzz`") as caught:
        load("zzz")
    assert str(caught.value).count("did you mean") == 0


def test_a_known_source_that_must_be_prepared_says_how() -> None:
    with pytest.raises(RecipeError, match="must be prepared") as caught:
        load("slake")
    assert "lowmed data prepare slake" in caught.value.fix


@pytest.mark.parametrize(
    ("source", "expected"),
    [("vqa-rad", "vqa_rad_public.json"), ("silvar-med", "samples.jsonl"), ("folder", "samples.jsonl")],
)
def test_a_folder_that_is_not_there_empty_or_another_names_what_was_looked_for(
    tmp_path: Path, source: str, expected: str
) -> None:
    stranger = tmp_path / "stranger"
    (stranger / "images").mkdir(parents=True)
    (stranger / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for name in ("gone", "empty", "stranger", "stranger/notes.txt"):
        with pytest.raises(DataError) as caught:
            load(source, str(tmp_path / name))
        assert expected in str(caught.value)
        assert str(tmp_path / name) in caught.value.where
        assert caught.value.fix


def test_sources_without_a_folder_ask_for_one_or_for_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWMED_OFFLINE", "1")
    with pytest.raises(DataError, match="needs a folder"):
        load("folder")
    for source in ("vqa-rad", "silvar-med"):
        with pytest.raises(SetupError, match="on the hub"):
            load(source)


def test_silvar_med_can_be_a_folder_and_keeps_its_name(tmp_path: Path) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "samples.jsonl").write_text(
        '{"id": 1, "images": ["a.png"], "question": "Organ?", "answer": "liver", "kind": "open", "explanation": "..."}'
    )
    loaded = load("silvar-med", str(tmp_path))
    assert (loaded.source, loaded.samples[0].source) == ("silvar-med", "silvar-med")


def test_phantom_has_the_counts_asked_for_and_no_picture_on_two_sides() -> None:
    loaded = load("phantom", seed=3, sizes={"train": 30, "test": 10, "unseen": 5})
    assert {name: len(samples) for name, samples in loaded.splits.items()} == {"train": 30, "test": 10, "unseen": 5}
    assert shared_images(loaded.splits["train"], loaded.splits["test"]) == set()
    assert loaded.open_image(loaded.samples[0].images[0]).size == (84, 84)
    assert loaded.digest == load("phantom", seed=3, sizes={"train": 30, "test": 10, "unseen": 5}).digest
    assert loaded.digest != load("phantom", seed=4, sizes={"train": 30, "test": 10, "unseen": 5}).digest
    assert list(load("phantom", sizes={"test": 4}).splits) == ["test"]


@pytest.mark.parametrize("sizes", [{}, {"train": 0}, {"train": -1, "test": 5}, {"validation": 5}])
def test_phantom_of_senseless_sizes_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match="sizes"):
        load("phantom", sizes=sizes)


def test_phantom_takes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="generated"):
        load("phantom", str(tmp_path))


def test_loading_the_room_imports_nothing_heavy() -> None:
    script = (
        "import sys, lowmed.data.load, lowmed.data.group_split\n"
        "print(sorted({'torch', 'transformers', 'trl', 'peft', 'datasets'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
