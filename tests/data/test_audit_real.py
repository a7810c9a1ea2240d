"""The audit of real data sets with known leaks."""

from pathlib import Path
from typing import Any

import pytest
from data.made import FIXTURES, SHARED, build

from lowmed.data import validate
from lowmed.data.audit import leaks
from lowmed.data.audit.report import audit as run_audit
from lowmed.data.audit.resplit import resplit, write
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest import prepared_folder
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.load import load
from lowmed.data.sources import KNOWN

POLICY = PixelPolicy(64)
pytestmark = pytest.mark.xdist_group("audit")  # one process prepares the data
Document = dict[str, Any]


def audit(*arguments: Any) -> Document:
    document: Document = run_audit(*arguments).model_dump(mode="json")
    return document


@pytest.fixture(scope="module")
def real_rad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = SHARED / "data" / "vqa-rad"
    if not folder.is_dir():
        pytest.skip("the real VQA-RAD is not at ../shared/data/vqa-rad")
    out = tmp_path_factory.mktemp("rad") / "out"
    build(KNOWN["vqa-rad"].rows(str(folder), ImportOptions()), out)
    return out


@pytest.fixture(scope="module")
def found_in_rad(real_rad: Path) -> Document:
    return audit(real_rad, POLICY)


@pytest.fixture(scope="module")
def real_slake(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = SHARED / "data" / "slake-text"
    if not folder.is_dir():
        pytest.skip("the real SLAKE texts are not at ../shared/data/slake-text")
    place = tmp_path_factory.mktemp("slake")
    for language in ("en", "zh", "both"):
        build(KNOWN["slake"].rows(str(folder), ImportOptions(language=language)), place / language, images=False)
    return {language: place / language for language in ("en", "zh", "both")}


def leak(document: Document, kind: str, b: str, a: str) -> list[int]:
    (result,) = [each for each in document["leaks"] if (each["kind"], each["a"], each["b"]) == (kind, a, b)]
    return [result["shared"], result["of"], result["questions"], result["of_questions"]]


def test_the_real_vqa_rad_trains_on_its_test_images(found_in_rad: Document) -> None:
    for kind in ("images", "files", "decoded pixels"):
        assert leak(found_in_rad, kind, "test", "train") == [202, 203, 446, 451]
    assert found_in_rad["verdict"] == "fail"
    assert found_in_rad["reasons"] == ["202 of 203 test images are also in train (446 of 451 questions)"]


def test_the_real_vqa_rad_is_counted_both_ways(found_in_rad: Document) -> None:
    test = found_in_rad["counts"]["test"]
    assert (test["kinds"], test["yes_no"]) == ({"closed": 272, "open": 179}, 251)
    assert found_in_rad["baselines"]["test"]["overall"]["all"] == pytest.approx(0.295, abs=0.001)
    assert found_in_rad["baselines"]["test"]["question"] == pytest.approx(
        {"all": 0.317, "closed": 0.511, "open": 0.022}, abs=0.001
    )
    assert (found_in_rad["images"]["loaded"], found_in_rad["images"]["expected"]) == (314, 314)
    assert found_in_rad["gold"]["unread"] == 0
    assert found_in_rad["repeats"]["duplicates"] == 4


def test_the_text_burned_into_the_real_vqa_rad_is_suspected(found_in_rad: Document) -> None:
    assert found_in_rad["privacy"]["text"] > 100
    assert found_in_rad["privacy"]["metadata"] == 0


def test_the_real_slake_leaks_across_its_languages(real_slake: dict[str, Path]) -> None:
    both = audit(real_slake["both"], POLICY)
    assert leak(both, "images", "slake-en test", "slake-zh train") == [72, 96, 781, 1061]
    assert leak(both, "images", "slake-zh test", "slake-en train") == [70, 96, 736, 1033]
    apart = audit(real_slake["en"], POLICY, [real_slake["zh"]])
    assert leak(apart, "images", "test", "other data 1 train") == [72, 96, 781, 1061]
    assert not [each for each in audit(real_slake["en"], POLICY)["leaks"] if each["kind"] == "images"]


def test_the_baseline_of_the_real_slake(real_slake: dict[str, Path]) -> None:
    floor = audit(real_slake["en"], POLICY)["baselines"]["test"]["question"]
    assert floor == pytest.approx({"all": 0.540, "closed": 0.661, "open": 0.462}, abs=0.0005)


def test_a_text_only_data_set_fails_the_audit(real_slake: dict[str, Path]) -> None:
    result = audit(real_slake["en"], POLICY)
    assert (result["verdict"], result["images"]["loaded"]) == ("fail", 0)
    assert "--text-only" in result["reasons"][0]


@pytest.mark.parametrize("by", ["image", "patient"])
def test_a_clean_split_of_the_real_vqa_rad(real_rad: Path, by: Any) -> None:
    data = load("folder", str(real_rad))
    known = leaks.image_digests([each for _, each in prepared_folder.stored_files(real_rad)])
    splits = resplit(data.splits, known, by)
    assert splits == resplit(data.splits, known, by)
    path = write(real_rad, splits, by)
    again = load("folder", str(path))
    assert sorted(sample.id for sample in again.samples) == sorted(sample.id for sample in data.samples)
    assert leaks.within(leaks.parts(again.splits), known) == []
    assert validate.find_problems(again.splits["train"], {"test": again.splits["test"]}) == ()
    assert len(again.splits["test"]) == pytest.approx(451, abs=5)
    closed = [sum(s.kind == "closed" for s in part) / len(part) for part in (again.splits["test"], data.samples)]
    assert closed[0] == pytest.approx(closed[1], abs=0.02)
    path.unlink()


def test_the_part_of_vqa_rad_leaks_like_the_full_set(tmp_path: Path) -> None:
    build(KNOWN["vqa-rad"].rows(str(FIXTURES / "vqa-rad"), ImportOptions()), tmp_path / "out")
    result = audit(tmp_path / "out", POLICY)
    assert result["verdict"] == "fail"
    shared, images, _, questions = leak(result, "images", "test", "train")
    assert (shared, questions) == (images - 1, result["counts"]["test"]["rows"])
    assert (result["images"]["loaded"], result["gold"]["unread"], result["privacy"]["metadata"]) == (60, 0, 0)
    assert result["repeats"]["duplicates"] == 4


def test_the_part_of_slake_leaks_across_its_languages(tmp_path: Path) -> None:
    for language in ("en", "both"):
        rows = KNOWN["slake"].rows(str(FIXTURES / "slake"), ImportOptions(language=language))
        build(rows, tmp_path / language, images=False, max_rejected=0.1)
    both = audit(tmp_path / "both", POLICY)
    assert leak(both, "images", "slake-en test", "slake-zh train")[:2] == [11, 16]
    assert not [one for one in audit(tmp_path / "en", POLICY)["leaks"] if one["kind"] == "images"]


@pytest.mark.parametrize("by", ["image", "patient"])
def test_a_clean_split_of_the_part_of_vqa_rad(tmp_path: Path, by: Any) -> None:
    build(KNOWN["vqa-rad"].rows(str(FIXTURES / "vqa-rad"), ImportOptions()), tmp_path / "out")
    data = load("folder", str(tmp_path / "out"))
    digests = leaks.image_digests([file for _, file in prepared_folder.stored_files(tmp_path / "out")])
    again = load("folder", str(write(tmp_path / "out", resplit(data.splits, digests, by), by)))
    assert sorted(sample.id for sample in again.samples) == sorted(sample.id for sample in data.samples)
    assert leaks.within(leaks.parts(again.splits), digests) == []
    assert validate.find_problems(again.splits["train"], {"test": again.splits["test"]}) == ()
