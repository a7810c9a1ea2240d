"""Loading sources by name: the cache of imported sources, and errors for missing ones."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lowmed.data import source_cache
from lowmed.data.group_split import shared_images
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.data.ingest.prepare import prepare
from lowmed.data.load import load
from lowmed.data.sources import KNOWN
from lowmed.errors import DataError, RecipeError, SetupError


def test_an_unknown_source_suggests_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="did you mean `vqa-rad`") as caught:
        load("vqa_rad")
    assert all(name in caught.value.fix for name in KNOWN)
    with pytest.raises(RecipeError, match="no data source `zzz`") as caught:
        load("zzz")
    assert str(caught.value).count("did you mean") == 0


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "lowmed/data"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("vqa-rad", "vqa_rad_public.json"),
        ("silvar-med", "samples.jsonl"),
        ("folder", "samples.jsonl"),
        ("slake", "test.json"),
    ],
)
def test_a_missing_empty_or_wrong_folder_names_the_expected_files(tmp_path: Path, source: str, expected: str) -> None:
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


def test_sources_without_a_folder_need_one_or_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_phantom_has_the_requested_sizes_and_no_shared_image() -> None:
    loaded = load("phantom", seed=3, sizes={"train": 30, "test": 10, "unseen": 5})
    assert {name: len(samples) for name, samples in loaded.splits.items()} == {"train": 30, "test": 10, "unseen": 5}
    assert shared_images(loaded.splits["train"], loaded.splits["test"]) == set()
    assert loaded.open_image(loaded.samples[0].images[0]).size == (84, 84)
    assert loaded.digest == load("phantom", seed=3, sizes={"train": 30, "test": 10, "unseen": 5}).digest
    assert loaded.digest != load("phantom", seed=4, sizes={"train": 30, "test": 10, "unseen": 5}).digest
    assert list(load("phantom", sizes={"test": 4}).splits) == ["test"]


@pytest.mark.parametrize("sizes", [{}, {"train": 0}, {"train": -1, "test": 5}, {"validation": 5}])
def test_phantom_of_invalid_sizes_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match="sizes"):
        load("phantom", sizes=sizes)


def test_phantom_takes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="generated"):
        load("phantom", str(tmp_path))


def test_the_data_package_imports_nothing_heavy() -> None:
    script = (
        "import sys, lowmed.data.load, lowmed.data.group_split\n"
        "print(sorted({'torch', 'transformers', 'trl', 'peft', 'datasets'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def write_slake(folder: Path, answer: str = "Yes") -> Path:
    line = {
        "img_name": "xmlab1/source.jpg", "question": "Is this CT?", "answer": answer, "q_lang": "en",
        "modality": "CT", "answer_type": "CLOSED", "content_type": "Modality",
    }  # fmt: skip
    (folder / "imgs/xmlab1").mkdir(parents=True, exist_ok=True)
    Image.effect_noise((300, 200), 50).save(folder / "imgs/xmlab1/source.jpg")
    for name in ("train", "validate", "test"):
        (folder / f"{name}.json").write_text(json.dumps([{**line, "qid": name}]))
    return folder


def test_a_known_source_is_trained_on_by_name_and_imported_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write_slake(tmp_path / "slake"))
    first = load("slake", folder)
    assert {name: len(samples) for name, samples in first.splits.items()} == {"train": 1, "validation": 1, "test": 1}
    assert first.source == "slake"
    assert first.open_image(first.samples[0].images[0]).size == (308, 196)
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
    monkeypatch.setattr("lowmed.data.source_cache.prepare", lambda *_, **__: pytest.fail("imported again"))
    assert load("slake", folder).digest == first.digest


@pytest.mark.parametrize("change", ["rows", "rows of the same size and time", "image", "policy"])
def test_a_changed_source_or_policy_is_imported_again(tmp_path: Path, cache: Path, change: str) -> None:
    folder = write_slake(tmp_path / "slake")
    before = load("slake", str(folder))
    if change == "rows":
        write_slake(folder, "No")
    if change == "rows of the same size and time":
        file = folder / "train.json"
        status, text = file.stat(), file.read_text(encoding="utf-8")
        file.write_text(text.replace("Yes", "No "), encoding="utf-8")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    if change == "image":
        Image.effect_noise((100, 100), 50).save(folder / "imgs/xmlab1/source.jpg")
    after = load("slake", str(folder), max_image_tokens=16 if change == "policy" else None)
    assert after.digest != before.digest
    if change == "policy":
        for one, other in zip(before.samples, after.samples, strict=True):
            assert (one.id, one.group) == (other.id, other.group)
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize("damage", ["image", "samples", "a line", "an answer", "rejected", "card"])
def test_a_damaged_cache_entry_is_imported_again(tmp_path: Path, cache: Path, damage: str) -> None:
    folder = write_slake(tmp_path / "slake")
    (folder / "test.json").write_text(json.dumps([*json.loads((folder / "test.json").read_text()), {"q_lang": "en"}]))
    first = load("slake", str(folder))
    assert len(first.rejected) == 1
    (entry,) = (path for path in cache.iterdir() if path.is_dir())
    samples = entry / "samples.jsonl"
    match damage:
        case "image":
            next((entry / "images").iterdir()).write_bytes(b"damaged")
        case "samples":
            samples.write_text("{")
        case "a line":
            samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:-1]))
        case "an answer":
            samples.write_text(samples.read_text().replace('"Yes"', '"No"'))
        case "rejected":
            (entry / "rejected.jsonl").write_text("{\n")
        case "card":
            (entry / "card.json").write_text("{")
    again = load("slake", str(folder))
    assert (again.digest, again.rejected) == (first.digest, first.rejected)


def test_an_interrupted_import_leaves_no_entry(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(write_slake(tmp_path / "slake"))
    with monkeypatch.context() as patch:
        patch.setattr("lowmed.data.ingest.prepare._move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            load("slake", folder)
    assert not list(cache.glob("slake-*/card.json"))
    assert len(load("slake", folder).samples) == 3


def test_a_cache_that_cannot_be_written_is_a_setup_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SetupError, match="cache cannot be written or locked") as caught:
        load("slake", str(write_slake(tmp_path / "slake")))
    assert "XDG_CACHE_HOME" in caught.value.fix


def test_a_cache_that_cannot_be_locked_is_a_setup_error(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cache

    def not_implemented(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", not_implemented)
    with pytest.raises(SetupError, match="Function not implemented"):
        load("slake", str(write_slake(tmp_path / "slake")))
    with pytest.raises(DataError, match="cannot be locked"):
        prepare([], tmp_path / "out", ImageStoreSettings(PixelPolicy(64)), {"source": "own"})


def test_the_import_shows_its_progress(tmp_path: Path, cache: Path) -> None:
    del cache
    calls: list[tuple[str, int]] = []

    @contextmanager
    def progress(label: str, total: int, start: int = 0) -> Iterator[Callable[[int, str], None]]:
        calls.append((label, total + start))
        yield lambda done, note: calls.append((note, done))

    load("slake", str(write_slake(tmp_path / "slake")), progress=progress)
    assert calls[0] == ("prepare slake", 3)
    assert calls[-1] == ("0 rejected", 3)


def test_two_processes_import_a_source_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(write_slake(tmp_path / "slake"))
    imports: list[str] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        imports.append(str(arguments[1]))
        time.sleep(0.1)
        return prepare(*arguments, **options)

    monkeypatch.setattr(source_cache, "prepare", counted)
    with ThreadPoolExecutor(2) as pool:
        digests = {job.result().digest for job in [pool.submit(load, "slake", folder) for _ in range(2)]}
    assert (len(digests), len(imports)) == (1, 1)
    assert len(list(cache.glob("slake-*/card.json"))) == 1
