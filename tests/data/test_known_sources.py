"""The known data sets, from small files of the published schema and from parts of the real ones."""

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.made import FIXTURES, SETTINGS, SHARED, make_image, rejected, samples, save_images

from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.ingest.prepare import prepare
from lowmed.data.sources import KNOWN
from lowmed.errors import DataError, SetupError


def build(
    name: str, path: Path, out: Path, import_options: ImportOptions | None = None, **options: Any
) -> list[dict[str, Any]]:
    rows = KNOWN[name].rows(str(path), import_options or ImportOptions())
    prepare(rows.entries, out, SETTINGS, {"source": name}, **options)
    return samples(out)


def png(seed: int) -> bytes:
    written = BytesIO()
    make_image(seed).save(written, "PNG")
    return written.getvalue()


def test_every_known_source_is_documented() -> None:
    assert set(KNOWN) == {
        "vqa-rad", "slake", "path-vqa", "pmc-vqa", "omnimedvqa", "silvar-med", "vqa-med-2019", "medxpertqa-mm",
        "medmnist", "medcalc-bench", "medical-o1", "iu-xray", "slake-boxes", "cord", "funsd", "sroie", "phantom",
        "phantom-boxes", "phantom-forms", "phantom-report", "testbed", "testbed-boxes",
    }  # fmt: skip
    for name, source in KNOWN.items():
        assert source.name == name
        assert all(
            (source.about, source.size, source.kinds, source.license, source.citation, source.files, source.available)
        )
        assert source.url or source.generated


@pytest.mark.parametrize("name", [name for name, source in KNOWN.items() if not source.generated])
def test_a_folder_of_other_files_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError) as caught:
        build(name, tmp_path, tmp_path / "out")
    assert caught.value.fix
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "slake",
        "pmc-vqa",
        "medxpertqa-mm",
        "omnimedvqa",
        "path-vqa",
        "silvar-med",
        "vqa-rad",
        "medcalc-bench",
        "medical-o1",
        "cord",
    ],
)
def test_the_hub_is_not_reached_offline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWMED_OFFLINE", "1")
    with pytest.raises(SetupError, match="LOWMED_OFFLINE") as caught:
        KNOWN[name].rows(None, ImportOptions())
    assert KNOWN[name].files in caught.value.fix


def test_the_real_vqa_rad_keeps_its_splits_and_both_of_its_denominators(whole_vqa_rad: Path, tmp_path: Path) -> None:
    result = build("vqa-rad", whole_vqa_rad, tmp_path / "out", images=False)
    test = [sample for sample in result if sample["split"] == "test"]
    assert (len(result), len(test)) == (2248, 451)
    assert [sum(s["kind"] == kind for s in test) for kind in ("closed", "open")] == [272, 179]
    assert sum(s["answer"].lower() in ("yes", "no") for s in test) == 251
    assert len({s["images"][0] for s in result}) == 314


@pytest.mark.parametrize(
    ("folder", "language", "rows"),
    [
        (SHARED / "data/slake-text", "en", 7032),
        (SHARED / "data/slake-text", "zh", 6995),
        (SHARED / "data/slake-text", "both", 14027),
        (FIXTURES / "slake", "en", 500),
        (FIXTURES / "slake", "zh", 497),
        (FIXTURES / "slake", "both", 997),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else str(value),
)
def test_the_real_slake_is_read_in_each_language(tmp_path: Path, folder: Path, language: Any, rows: int) -> None:
    if not folder.is_dir():
        pytest.skip("the real SLAKE texts are not at ../shared/data/slake-text")
    result = build("slake", folder, tmp_path / "out", ImportOptions(language=language), images=False)
    assert len(result) == rows
    assert {s["source"] for s in result} == {
        f"slake-{name}" for name in (["en", "zh"] if language == "both" else [language])
    }
    assert len(rejected(tmp_path / "out")) == (language != "zh")
    assert {s["modality"] for s in result} == {"CT", "MRI", "X-Ray"}


def test_slake_reads_its_images_from_the_folder_or_the_published_zip(tmp_path: Path) -> None:
    line = {
        "img_id": 1, "img_name": "xmlab1/source.jpg", "question": "Is  this CT?", "answer": "Yes", "q_lang": "en",
        "location": "Lung", "modality": "CT", "answer_type": "CLOSED", "base_type": "vqa",
        "triple": ["vhead", "_", "_"], "qid": 7, "content_type": "Modality",
    }  # fmt: skip
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{**line, "qid": f"{name}"}]))
    with zipfile.ZipFile(tmp_path / "imgs.zip", "w") as archive:
        archive.writestr("imgs/xmlab1/source.jpg", png(1))
    result = build("slake", tmp_path, tmp_path / "out")
    assert [(s["split"], s["question"], s["kind"], s["topic"]) for s in result] == [
        (split, "Is this CT?", "closed", "Modality") for split in ("train", "validation", "test")
    ]
    save_images(tmp_path, "imgs/xmlab1/source.jpg")
    assert len(build("slake", tmp_path, tmp_path / "again")) == 3


@pytest.mark.parametrize("name", ["path-vqa", "silvar-med"])
def test_the_parquet_files_of_the_hub_are_read(tmp_path: Path, name: str) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    kinds = Features({"image": ImageFeature(), "question": Value("string"), "answer": Value("string")})
    (tmp_path / "data").mkdir()
    for seed, split in enumerate(("train", "validation", "test")):
        rows = {
            "image": [{"bytes": png(seed), "path": None}] * 2,
            "question": ["what is shown?", "is it red?"],
            "answer": ["a nerve", "yes"],
        }
        Dataset.from_dict(rows, features=kinds).to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    result = build(name, tmp_path, tmp_path / "out")
    assert [(s["split"], s["kind"]) for s in result] == [
        (split, kind) for split in ("test", "train", "validation") for kind in ("open", "closed")
    ]
    assert len({s["images"][0] for s in result}) == 3
    assert {s["source"] for s in result} == {name}


def test_a_hub_id_is_read_by_the_datasets_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from datasets import Dataset, Features, Sequence, Value
    from datasets import Image as ImageFeature

    from lowmed.data.ingest import hub

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.delenv("LOWMED_OFFLINE", raising=False)
    kinds = Features({"images": Sequence(ImageFeature()), "frage": Value("string"), "answer": Value("string")})
    two = [{"bytes": png(1), "path": None}, {"bytes": png(2), "path": None}]
    (tmp_path / "repo").mkdir()
    Dataset.from_dict({"images": [two], "frage": ["Same?"], "answer": ["no"]}, features=kinds).to_parquet(
        tmp_path / "repo/train.parquet"
    )
    opened = hub.rows(str(tmp_path / "repo"), "somebody/set", ImportOptions({"question": "frage"}), "download it")
    prepare(opened.entries, tmp_path / "out", SETTINGS, {"source": "somebody/set"})
    (sample,) = samples(tmp_path / "out")
    assert (len(sample["images"]), sample["question"], sample["source"]) == (2, "Same?", "somebody/set")


PMC = "Figure_path,Question,Answer,Choice A,Choice B,Choice C,Choice D,Answer_label\n"
PMC_2 = "index,Figure_path,Caption,Question,Choice A,Choice B,Choice C,Choice D,Answer,split\n"


def test_pmc_vqa_is_read_in_both_versions(tmp_path: Path) -> None:
    save_images(tmp_path, "images/PMC1_F1.jpg", "images_2/PMC1_F1_0.jpg")
    (tmp_path / "train.csv").write_text(PMC + "PMC1_F1.jpg,Which?,focal,A:diffuse ,B:focal,C:none,D:C,B\n")
    (tmp_path / "test.csv").write_text(PMC + "PMC1_F1.jpg,Which one?,x,A:1,B:2,C:3,D:4,D\n")
    train, test = build("pmc-vqa", tmp_path, tmp_path / "one")
    assert (train["answer"], train["options"], train["kind"]) == ("focal", ["diffuse", "focal", "none", "C"], "choice")
    assert (test["split"], test["answer"]) == ("test", "4")
    (tmp_path / "test_2.csv").write_text(PMC_2 + '0,PMC1_F1_0.jpg,"a, caption",Which?, A:x , B:y , C:z , D:w ,C,test\n')
    (only,) = build("pmc-vqa", tmp_path, tmp_path / "two")
    assert (only["split"], only["answer"]) == ("test", "z")


def test_omnimedvqa_is_read_with_its_row_of_other_fields(tmp_path: Path) -> None:
    save_images(tmp_path, "Images/ACRIMA/Im1.png")
    line = {
        "dataset": "ACRIMA", "question_id": "ACRIMA_0000", "question_type": "Modality Recognition",
        "question": "What imaging technique was employed?", "gt_answer": "Fundus imaging",
        "image_path": "Images/ACRIMA/Im1.png", "option_A": "PET-CT scan", "option_B": "CT scan",
        "option_C": "Blood test", "option_D": "Fundus imaging", "modality_type": "Fundus Photography",
    }  # fmt: skip
    odd = {**line, "question_id": "ACRIMA_0001", "modality": "CT", "option_C": "", "option_D": "Fundus imaging"}
    del odd["modality_type"]
    twice = {**line, "question_id": "ACRIMA_0002", "option_A": "Fundus imaging"}
    folder = tmp_path / "QA_information/Open-access"
    folder.mkdir(parents=True)
    (folder / "ACRIMA.json").write_text(json.dumps([line, odd, twice]))
    first, second = build("omnimedvqa", tmp_path, tmp_path / "out", max_rejected=0.5)
    assert (first["split"], first["answer"], first["modality"], len(first["options"])) == (
        "test", "Fundus imaging", "Fundus Photography", 4,
    )  # fmt: skip
    assert (second["modality"], len(second["options"])) == ("CT", 3)
    assert "not exactly one of the options" in rejected(tmp_path / "out")[0][2]


def test_vqa_med_2019_is_read_as_published(tmp_path: Path) -> None:
    for folder, images, file, line in (
        ("ImageClef-2019-VQA-Med-Training", "Train_images", "All_QA_Pairs_train.txt", "synpic1|what plane?|axial"),
        ("ImageClef-2019-VQA-Med-Validation", "Val_images", "All_QA_Pairs_val.txt", "synpic2|is this a ct?|yes"),
        ("VQAMed2019Test", "VQAMed2019_Test_Images", "VQAMed2019_Test_Questions_w_Ref_Answers.txt",
         "synpic3|plane|which plane?|axial#transverse"),
    ):  # fmt: skip
        save_images(tmp_path / folder, f"{images}/{line.split('|')[0]}.jpg")
        (tmp_path / folder / file).write_text(f"{line}\nbroken line\n")
    result = build("vqa-med-2019", tmp_path, tmp_path / "out", max_rejected=0.5)
    assert [(s["split"], s["kind"], s["answer"], s["topic"]) for s in result] == [
        ("train", "open", "axial", ""), ("validation", "closed", "yes", ""), ("test", "open", "axial", "plane"),
    ]  # fmt: skip
    assert len(rejected(tmp_path / "out")) == 3


def test_medxpertqa_keeps_every_image_of_a_question(tmp_path: Path) -> None:
    line = {
        "id": "MM-1", "question": "Which vessel?\nAnswer Choices: (A) C (B) D (C) A (D) B (E) None", "label": "C",
        "options": {"A": "C", "B": "D", "C": "A", "D": "B", "E": "None"}, "images": ["MM-1-a.jpeg", "MM-1-b.jpeg"],
        "medical_task": "Diagnosis", "body_system": "Cardiovascular", "question_type": "Reasoning",
    }  # fmt: skip
    (tmp_path / "MM").mkdir()
    (tmp_path / "MM/test.jsonl").write_text(json.dumps(line))
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for seed, name in enumerate(line["images"]):
            archive.writestr(f"images/{name}", png(seed))
    (sample,) = build("medxpertqa-mm", tmp_path, tmp_path / "out")
    assert len(sample["images"]) == 2
    assert (sample["question"], sample["answer"], sample["topic"]) == ("Which vessel?", "A", "Diagnosis")


def arrays(path: Path, labels: np.ndarray[Any, Any], shape: tuple[int, ...] = (28, 28)) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    parts: dict[str, Any] = {}
    for part in ("train", "val", "test"):
        parts |= {f"{part}_images": images, f"{part}_labels": labels}
    np.savez_compressed(path, **parts)
    return path


def test_medmnist_turns_labels_into_class_names(tmp_path: Path) -> None:
    file = arrays(tmp_path / "pathmnist_64.npz", np.array([[0], [8], [9]], np.uint8), (64, 64, 3))
    result = build("medmnist", file, tmp_path / "out", max_rejected=0.5)
    assert [s["answer"] for s in result[:2]] == ["adipose", "colorectal adenocarcinoma epithelium"]
    assert {s["split"] for s in result} == {"train", "validation", "test"}
    assert rejected(tmp_path / "out")[0][2] == "the label 9 is outside the 9 classes"


def test_each_finding_of_a_chest_image_is_a_question_with_one_right_option(tmp_path: Path) -> None:
    labels = np.zeros((2, 14), np.uint8)
    labels[0, [1, 5]] = 1
    result = build("medmnist", arrays(tmp_path / "chestmnist.npz", labels), tmp_path / "out")[:3]
    assert [s["answer"] for s in result] == ["cardiomegaly", "nodule", "no finding"]
    assert "nodule" not in result[0]["options"]
    assert "cardiomegaly" not in result[1]["options"]
    assert len({s["id"] for s in result}) == 3


def test_pickled_three_dimensional_and_damaged_arrays_are_refused(tmp_path: Path) -> None:
    evil = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "breastmnist.npz", train_labels=evil, train_images=evil)
    with pytest.raises(DataError, match="cannot be read"):
        build("medmnist", tmp_path / "breastmnist.npz", tmp_path / "out")
    with pytest.raises(DataError, match="not a 2-D set"):
        build("medmnist", arrays(tmp_path / "organmnist3d.npz", np.array([[0]])), tmp_path / "out")
    content = arrays(tmp_path / "octmnist.npz", np.array([[0]], np.uint8)).read_bytes()
    (tmp_path / "octmnist.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        build("medmnist", tmp_path / "octmnist.npz", tmp_path / "out")
    with pytest.raises(DataError, match=r"3 \.npz files"):
        build("medmnist", tmp_path, tmp_path / "out")


def test_the_real_breastmnist_is_read(tmp_path: Path) -> None:
    result = build("medmnist", FIXTURES / "medmnist", tmp_path / "out")
    counts = {split: sum(s["split"] == split for s in result) for split in ("train", "validation", "test")}
    assert counts == {"train": 546, "validation": 78, "test": 156}
    assert sum(s["answer"] == "malignant" for s in result) == 210
