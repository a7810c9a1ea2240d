"""VQA-RAD: the defects of the published file, on the real file where it is available and on small generated ones."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lowmed.data.dataset import DataSet, is_yes_no
from lowmed.data.group_split import by_group, shared_images
from lowmed.data.load import load
from lowmed.data.sources.vqa_rad import FILE
from lowmed.data.split import split_data
from lowmed.errors import DataError
from lowmed.recipe import DataSpec

REAL = Path(__file__).parents[2] / "../shared/data/vqa-rad"
PART = Path(__file__).parents[1] / "fixtures/vqa-rad"


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "lowmed/data"


@pytest.fixture(scope="module")
def real() -> DataSet:
    if not REAL.is_dir():
        pytest.skip("the real VQA-RAD is not at ../shared/data/vqa-rad")
    return load("vqa-rad", str(REAL))


def row(**changes: Any) -> dict[str, Any]:
    return {
        "qid": 7,
        "phrase_type": "freeform",
        "image_name": "a.jpg",
        "image_organ": "CHEST",
        "question": "Is there a fracture?",
        "question_type": "PRES",
        "answer": "No",
        "answer_type": "CLOSED",
        **changes,
    }


def copy_of(folder: Path, *rows: dict[str, Any], name: str = FILE) -> str:
    (folder / "images").mkdir(exist_ok=True)
    Image.effect_noise((64, 64), 50).save(folder / "images/a.jpg")
    (folder / name).write_text(json.dumps(rows))
    return str(folder)


def test_every_row_of_the_real_file_is_used(real: DataSet) -> None:
    assert {name: len(samples) for name, samples in real.splits.items()} == {"train": 1797, "test": 451}
    assert len(real.samples) == len({sample.id for sample in real.samples}) == 2248
    assert real.rejected == ()


def test_both_denominators_of_the_real_test_set_can_be_counted(real: DataSet) -> None:
    kinds = [sample.kind for sample in real.splits["test"]]
    assert (kinds.count("closed"), kinds.count("open")) == (272, 179)
    assert sum(is_yes_no(sample.answer) for sample in real.splits["test"]) == 251
    assert "closed 272, open 179 (yes/no answers 251)" in real.describe()


def test_nearly_every_real_test_image_is_trained_on(real: DataSet) -> None:
    train, test = real.splits["train"], real.splits["test"]
    assert len({sample.group for sample in test}) == len({image for sample in test for image in sample.images}) == 203
    assert len(shared_images(train, test)) == 202
    regrouped = by_group(real.samples, {"train": 0.8, "test": 0.2}, seed=0)
    assert shared_images(regrouped["train"], regrouped["test"]) == set()
    assert sum(map(len, regrouped.values())) == 2248


def test_the_unused_image_of_the_real_set_is_named(real: DataSet) -> None:
    assert len({sample.images for sample in real.samples}) == 314
    assert real.unused == ("synpic35356.jpg",)
    assert "unused images: 1 (first: synpic35356.jpg)" in real.describe()


def test_four_real_questions_occur_twice(real: DataSet) -> None:
    assert len(real.samples) - len({(sample.images, sample.question) for sample in real.samples}) == 4
    assert "4 rows repeat" in real.describe()


def test_the_real_file_is_cleaned(real: DataSet) -> None:
    by_id = {sample.id: sample for sample in real.samples}
    raw = json.loads((REAL / FILE).read_text())
    integers = [by_id[str(line["qid"])].answer for line in raw if isinstance(line["answer"], int)]
    assert sorted(integers) == ["12", "12", "2", "2", "4"]
    spaced = [by_id[str(line["qid"])].kind for line in raw if line["answer_type"] == "CLOSED "]
    assert spaced == ["closed", "closed"]
    assert all(sample.question == sample.question.strip() for sample in real.samples)
    topics = {name for sample in real.samples for name in sample.topic.split(", ")}
    assert topics == set("PRES POS ABN OTHER MODALITY SIZE PLANE ATTRIB ORGAN COLOR COUNT".split())  # noqa: SIM905
    assert {sample.topic for sample in real.samples if "POS" in sample.topic and "PRES" in sample.topic} == {
        "POS, PRES"
    }


def test_the_real_file_has_no_modality(real: DataSet) -> None:
    assert {sample.modality for sample in real.samples} == {""}


def test_real_images_open_in_a_worker_process(real: DataSet) -> None:
    opener = pickle.loads(pickle.dumps(real.open_image))  # noqa: S301
    first = real.splits["test"][0]
    assert opener(first.images[0]).size == real.open_image(first.images[0]).size


@pytest.fixture(scope="module")
def part() -> DataSet:
    return load("vqa-rad", str(PART))


def test_the_part_of_the_real_set_is_read_completely(part: DataSet) -> None:
    assert {name: len(samples) for name, samples in part.splits.items()} == {"train": 351, "test": 81}
    assert {sample.id for sample in part.samples} == {str(row["qid"]) for row in json.loads((PART / FILE).read_text())}
    assert (part.rejected, part.unused) == ((), ("synpic35356.jpg",))
    assert len({sample.images for sample in part.samples}) == 60
    assert len(part.samples) - len({(sample.images, sample.question) for sample in part.samples}) == 4


def test_nearly_every_test_image_of_the_part_is_trained_on(part: DataSet) -> None:
    train, test = part.splits["train"], part.splits["test"]
    images = {sample.images for sample in test}
    assert len(images) - len(shared_images(train, test)) == 1
    regrouped = by_group(part.samples, {"train": 0.8, "test": 0.2}, seed=0)
    assert shared_images(regrouped["train"], regrouped["test"]) == set()


def test_the_split_by_image_is_the_same_under_every_pixel_policy(part: DataSet) -> None:
    small = load("vqa-rad", str(PART), max_image_tokens=16)
    assert small.digest != part.digest
    spec = DataSpec(source="vqa-rad")
    assert split_data(small, spec, 0).ids() == split_data(part, spec, 0).ids()


def test_the_dirty_rows_of_the_part_are_cleaned(part: DataSet) -> None:
    by_id = {sample.id: sample for sample in part.samples}
    raw = json.loads((PART / FILE).read_text())
    integers = [by_id[str(line["qid"])].answer for line in raw if isinstance(line["answer"], int)]
    assert sorted(integers) == ["12", "12", "2", "2", "4"]
    assert [by_id[str(line["qid"])].kind for line in raw if line["answer_type"] == "CLOSED "] == ["closed", "closed"]
    topics = {name for sample in part.samples for name in sample.topic.split(", ")}
    assert topics.isdisjoint({"PRSE", "ATRIB"})
    assert {"PRES", "ATTRIB"} <= topics


def test_images_of_the_part_open_in_a_worker_process(part: DataSet) -> None:
    opener = pickle.loads(pickle.dumps(part.open_image))  # noqa: S301
    sample = part.splits["test"][0]
    assert opener(sample.images[0]).size == part.open_image(sample.images[0]).size


def test_rows_that_cannot_be_used_are_rejected_by_name(tmp_path: Path) -> None:
    path = copy_of(
        tmp_path,
        row(qid=1),
        row(qid=2, answer=None),
        row(qid=3, answer="  "),
        row(qid=4, image_name=""),
        row(qid=5, image_name="gone.jpg"),
        row(qid=6, image_name="cut.jpg"),
        row(qid=7, phrase_type="validation"),
        row(qid=1, question="Again?"),
        row(qid=8, image_name="../secret.jpg"),
        row(qid=9, question=["a", "list"]),
        row(qid=None),
    )
    image = (tmp_path / "images/a.jpg").read_bytes()
    (tmp_path / "images/cut.jpg").write_bytes(image[:-100])
    (tmp_path / "secret.jpg").write_bytes(image)
    loaded = load("vqa-rad", path)
    assert [sample.id for sample in loaded.samples] == ["1"]
    reasons = {f"row {rejected.where.removeprefix(FILE)[1:]}": rejected.reason for rejected in loaded.rejected}
    assert len(reasons) == len(loaded.rejected) == 10
    assert reasons["row 2"] == reasons["row 3"] == "no answer"
    assert reasons["row 4"] == "no image"
    assert "does not exist" in reasons["row 5"]
    assert "truncated" in reasons["row 6"]
    assert "validation" in reasons["row 7"]
    assert "same id" in reasons["row 8"]
    assert "outside the data folder" in reasons["row 9"]
    assert reasons["row 10"] == "no question"
    assert reasons["row 11"] == "no id"
    assert "rejected: 10 rows" in loaded.describe()
    assert f"2 x no answer (first: {FILE}:2)" in loaded.describe()


def test_a_yes_no_answer_is_closed_whatever_its_label(tmp_path: Path) -> None:
    path = copy_of(tmp_path, row(answer="YES", answer_type="OPEN"), row(qid=8, answer="left", answer_type="CLOSED "))
    assert [sample.kind for sample in load("vqa-rad", path).samples] == ["closed", "closed"]


def test_one_file_with_the_columns_is_enough_but_two_are_refused(tmp_path: Path) -> None:
    path = copy_of(tmp_path, row(), name="VQA_RAD Dataset Public.json")
    (tmp_path / "other.json").write_text('{"not": "this"}')
    assert len(load("vqa-rad", path).samples) == 1
    copy_of(tmp_path, row(), name="again.json")
    with pytest.raises(DataError, match="all have the columns"):
        load("vqa-rad", path)
    copy_of(tmp_path, row(), row(qid=8))
    assert len(load("vqa-rad", path).samples) == 2


def test_a_truncated_file_and_a_folder_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps([row()])[:-20])
    with pytest.raises(DataError, match="not JSON"):
        load("vqa-rad", str(tmp_path))
    (tmp_path / FILE).write_text(json.dumps([row()]))
    with pytest.raises(DataError, match="images/"):
        load("vqa-rad", str(tmp_path))


def test_when_no_row_is_left_the_reasons_are_stated(tmp_path: Path, cache: Path) -> None:
    path = copy_of(tmp_path, row(answer=""), row(qid=8, answer=""))
    with pytest.raises(DataError, match="no row can be used: 2 of 2 rows") as caught:
        load("vqa-rad", path)
    assert "2 x no answer" in caught.value.where
    assert path in caught.value.where
    assert not list(cache.glob("*.rejected.jsonl"))
