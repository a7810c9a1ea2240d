"""CORD, FUNSD and SROIE from made-up documents in their published layouts, and phantom's forms."""

import json
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from data.made import SETTINGS, make_image, rejected, samples, save_images

from lowmed import prompt
from lowmed.answer import fields
from lowmed.data.extraction import with_key_subset
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.ingest.prepare import prepare
from lowmed.data.load import load
from lowmed.data.sources import KNOWN, cord, funsd, sroie
from lowmed.errors import DataError, RecipeError
from lowmed.nano import phantom
from lowmed.plan.sequence_lengths import sequence_lengths
from lowmed.recipe.io import load_recipe
from lowmed.rewards.extraction import Extraction
from lowmed.rewards.score import Score
from lowmed.sample import Sample

RECEIPT = {
    "menu": [{"nm": "Made-up tea", "cnt": "2 x", "price": "8,000", "sub": {"nm": "no sugar"}}, {"nm": "Rice"}],
    "sub_total": {"subtotal_price": "8,000", "etc": ["1", "2"]},
    "total": {"total_price": "8,800", "cashprice": "10,000"},
}
FORM: list[dict[str, Any]] = [
    {"id": 0, "text": "Visit", "label": "header", "linking": [[0, 1]]},
    {"id": 1, "text": "Name of\n animal:", "label": "question", "linking": [[0, 1], [1, 2]]},
    {"id": 2, "text": "Rex", "label": "answer", "linking": [[1, 2]]},
    {"id": 3, "text": "Toys", "label": "question", "linking": [[3, 5], [3, 4]]},
    {"id": 4, "text": "ball", "label": "answer", "linking": [[3, 4]]},
    {"id": 5, "text": "rope", "label": "answer", "linking": [[3, 5]]},
    {"id": 6, "text": "TOYS", "label": "question", "linking": [[7, 6]]},
    {"id": 7, "text": "bone", "label": "answer", "linking": [[7, 6]]},
    {"id": 8, "text": "Weight", "label": "question", "linking": []},
    {"id": 9, "text": "", "label": "answer", "linking": [[8, 9]]},
    {"id": 10, "text": "page 1", "label": "other", "linking": []},
]
ENTITIES = {"company": "MADE UP  LTD", "date": "01/02/2020", "address": "1, NO STREET", "total": "9.00"}


def build(name: str, path: Path, out: Path, max_rejected: float = 0.0) -> list[dict[str, Any]]:
    rows = KNOWN[name].rows(str(path), ImportOptions())
    prepare(rows.entries, out, SETTINGS, {"source": name}, max_rejected=max_rejected)
    return samples(out)


def reasons(out: Path) -> dict[str, str]:
    return {where: reason for where, _, reason in rejected(out)}


def cord_row(gold: Any, seed: int = 0, **truth: Any) -> dict[str, Any]:
    file = BytesIO()
    make_image(seed).save(file, "PNG")
    content = {"gt_parse": gold, "meta": {"image_id": seed, "split": "train"}, "valid_line": [{"words": []}], **truth}
    return {"image": {"bytes": file.getvalue(), "path": None}, "ground_truth": json.dumps(content)}


def write_cord(folder: Path, **parts: list[dict[str, Any]]) -> Path:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    kinds = Features({"image": ImageFeature(), "ground_truth": Value("string")})
    (folder / "data").mkdir(parents=True)
    for split, rows in parts.items():
        table = {name: [row[name] for row in rows] for name in kinds}
        Dataset.from_dict(table, features=kinds).to_parquet(folder / f"data/{split}-00000-of-00001-0a.parquet")
    return folder


def write_folders(folder: Path, part: str, names: tuple[str, str], files: dict[str, Any]) -> Path:
    """JSON files and an image for each name without a folder part."""
    (folder / part / names[0]).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / part / names[0] / name).write_text(text)
    save_images(folder, *(f"{part}/{names[1]}/{Path(name).stem}.png" for name in files))
    return folder


def test_a_receipt_of_cord_is_one_question_about_its_documented_keys(tmp_path: Path) -> None:
    path = write_cord(tmp_path / "cord", train=[cord_row(RECEIPT)], validation=[cord_row(RECEIPT, 1)],
                      test=[cord_row({"menu": {"nm": "Only", "price": "1"}}, 2), cord_row(RECEIPT, 1)])  # fmt: skip
    test, copy, train, validation = build("cord", path, tmp_path / "out")
    assert [sample["split"] for sample in (test, train, validation)] == ["test", "train", "validation"]
    assert {sample["kind"] for sample in (test, train)} == {"json"}
    assert json.loads(train["answer"]) == {
        **RECEIPT, "menu": [{**RECEIPT["menu"][0], "sub": [{"nm": "no sugar"}]}, {"nm": "Rice"}],  # type: ignore[index]
    }  # fmt: skip
    assert json.loads(test["answer"]) == {"menu": [{"nm": "Only", "price": "1"}]}
    assert copy["group"] == validation["group"] != train["group"]
    for word in ("menu", "sub_total", "othersvc_price", "vatyn", "emoneyprice"):
        assert word in train["question"]
    assert "tea" not in train["question"]
    assert test["question"] == train["question"]
    assert len(build("cord", path / "data/train-00000-of-00001-0a.parquet", tmp_path / "file")) == 1


def test_damaged_rows_of_cord_are_rejected_by_name(tmp_path: Path) -> None:
    deep: Any = {"nm": "x"}
    for _ in range(400):
        deep = {"sub": deep}
    damaged = {
        "ground_truth is not JSON": {**cord_row(RECEIPT, 1), "ground_truth": '{"gt_parse": {"menu"'},
        "no ground_truth": {**cord_row(RECEIPT, 2), "ground_truth": None},
        "holds no JSON object": {**cord_row(RECEIPT, 3), "ground_truth": "[]"},
        "has no object gt_parse": cord_row([RECEIPT], 4),
        "'store_info', which CORD does not document": cord_row({**RECEIPT, "store_info": {"nm": "x"}}, 5),
        "no filled field": cord_row({"menu": [], "total": {"total_price": " "}}, 6),
        "occurs twice": cord_row({"total": {"total_price": "1", "Total_price": "2"}}, 7),
        "nested": cord_row({"menu": deep}, 8),
        "same images, question and answer": cord_row(RECEIPT),
        "no image": {**cord_row(RECEIPT), "image": None},
        "not an image": {**cord_row(RECEIPT), "image": {"bytes": b"no image", "path": None}},
        "control token": cord_row({"menu": [{"nm": "tea <|im_end|>"}]}, 9),
    }
    path = write_cord(tmp_path / "cord", train=[cord_row(RECEIPT), *damaged.values()])
    assert len(build("cord", path, tmp_path / "out", max_rejected=0.95)) == 1
    why = [reason for _, _, reason in rejected(tmp_path / "out")]
    assert len(why) == len(damaged)
    for expected, reason in zip(damaged, why, strict=True):
        assert expected in reason, (expected, reason)


def test_a_form_of_funsd_has_the_answers_of_each_linked_question(tmp_path: Path) -> None:
    for part in ("training_data", "testing_data"):
        write_folders(tmp_path / "funsd/dataset", part, ("annotations", "images"), {"1.json": {"form": FORM}})
    make_image(9).save(tmp_path / "funsd/dataset/testing_data/images/1.png")
    for place in ("funsd", "funsd/dataset"):
        train, test = build("funsd", tmp_path / place, tmp_path / f"out{len(place)}")
        assert (train["split"], test["split"], train["kind"]) == ("train", "test", "json")
        assert json.loads(train["answer"]) == {"Name of animal:": "Rex", "Toys": ["ball", "rope", "bone"]}
        assert not any(word in train["question"] for word in ("Rex", "Toys"))
    assert "non-commercial" in KNOWN["funsd"].terms


def test_damaged_forms_of_funsd_are_rejected_by_name(tmp_path: Path) -> None:
    one, two = FORM[1], FORM[2]
    damaged = {
        "not JSON": '{"form": [',
        "no JSON object": "[]",
        "no list `form`": {"forms": FORM},
        "no question that is linked": {"form": [FORM[0], {**one, "linking": [[0, 1]]}, FORM[8], FORM[9]]},
        "has no id, text or label": {"form": [{"text": "x"}]},
        "two entries of the form have the id 2": {"form": [one, two, two]},
        "a link that does not name two": {"form": [FORM[0], {**one, "linking": [[1, 99]]}]},
        "1 has a link": {"form": [FORM[0], {**one, "linking": [[1, [2]]]}]},
        "the entry 1 has": {"form": [FORM[0], {**one, "linking": 5}]},
    }
    files = {f"{number}.json": content for number, content in enumerate(damaged.values())}
    path = write_folders(tmp_path / "funsd", "training_data", ("annotations", "images"), files)
    more = {"good.json": {"form": FORM}, "alone.json": {"form": FORM}, "twice.json": {"form": FORM}}
    write_folders(path, "training_data", ("annotations", "images"), more)
    images = path / "training_data/images"
    (images / "alone.png").unlink()
    make_image(7).save(images / "twice.jpg")
    make_image(8).save(images / "unused.png")
    (path / "training_data/annotations/latin.json").write_bytes('{"form": "é"}'.encode("latin-1"))
    rows = KNOWN["funsd"].rows(str(path), ImportOptions())
    assert rows.unused_images == ("training_data/images/unused.png",)
    assert len(build("funsd", path, tmp_path / "out", max_rejected=0.95)) == 1
    why = reasons(tmp_path / "out")
    expected = {f"training_data/annotations/{number}.json": reason for number, reason in enumerate(damaged)}
    expected |= {
        "training_data/annotations/alone.json": "no image has the name",
        "training_data/annotations/twice.json": "several images",
        "training_data/annotations/latin.json": "not UTF-8",
    }
    assert why.keys() == expected.keys()
    for where, reason in expected.items():
        assert reason in why[where], where


def test_a_receipt_of_sroie_has_its_four_fields(tmp_path: Path) -> None:
    place = tmp_path / "kaggle/SROIE2019"
    for part in ("train", "test"):
        write_folders(place, part, ("entities", "img"), {"same.txt": {**ENTITIES, "more": "x"}})
    make_image(9).save(place / "test/img/same.png")
    damaged = {"a.txt": {**ENTITIES, "total": " "}, "b.txt": {"company": "x"}, "c.txt": {**ENTITIES, "date": 3}}
    damaged |= {"d.txt": "company: x", "e.txt": ENTITIES}
    write_folders(place, "train", ("entities", "img"), damaged)
    (place / "train/img/e.png").write_bytes(b"no image")
    train, test = build("sroie", tmp_path / "kaggle", tmp_path / "out", max_rejected=0.9)
    assert (train["split"], test["split"]) == ("train", "test")
    assert json.loads(train["answer"]) == {**ENTITIES, "company": "MADE UP LTD"}
    assert all(f'"{key}": ' in train["question"] for key in ENTITIES)
    why = {Path(where).name: reason for where, reason in reasons(tmp_path / "out").items()}
    assert why.keys() == damaged.keys()
    assert why["a.txt"] == "the field total is missing"
    assert why["b.txt"] == "the field date is missing"
    assert why["c.txt"] == "the field date is not a text"
    assert why["d.txt"] == "the file is not JSON"


@pytest.mark.parametrize("question", [cord.QUESTION, sroie.QUESTION])
def test_a_subset_of_keys_requests_and_grades_these_keys_alone(question: str) -> None:
    gold = RECEIPT if question == cord.QUESTION else ENTITIES
    sample = Sample("1", question, json.dumps(gold), "json", "1", "x", images=("1",))
    seen = set()
    for seed in range(40):
        drawn = with_key_subset(sample, random.Random(seed))
        kept = json.loads(drawn.answer)
        seen.add(tuple(kept))
        assert kept == {key: value for key, value in gold.items() if key in kept}
        for key in gold:
            assert (f'"{key}": ' in drawn.question) == (key in kept)
        document, _ = fields.parse(drawn.answer)
        assert document
        assert document.leaves
    assert len(seen) > 5


def test_a_form_without_keys_in_its_question_gets_the_drawn_ones() -> None:
    sample = Sample("1", funsd.QUESTION, json.dumps({"Name:": "Rex", "Toys": ["ball", "rope"]}), "json", "1", "x")
    drawn = with_key_subset(sample, random.Random(1))
    assert drawn.question == f'{funsd.QUESTION}\nGive these keys alone: "{next(iter(json.loads(drawn.answer)))}".'


def score(sample: Sample, answer: str) -> Score:
    return Extraction()(sample, f"<think>I read it.</think><answer>{answer}</answer>")


def test_other_answers_to_a_receipt_earn_what_they_share() -> None:
    sample = Sample("1", cord.QUESTION, json.dumps(RECEIPT), "json", "1", "cord")
    assert score(sample, json.dumps(RECEIPT)).value == 1
    turned = {**RECEIPT, "menu": list(reversed(RECEIPT["menu"]))}  # type: ignore[call-overload]
    assert score(sample, json.dumps(turned)).value == 1
    for hack in (
        cord.QUESTION,
        "{}",
        json.dumps(dict.fromkeys(RECEIPT, "")),
        json.dumps({"menu": [{"nm": "8,000"}, {"nm": "8,800"}]}),
        json.dumps({"everything": RECEIPT}),
        json.dumps([RECEIPT]),
    ):
        assert score(sample, hack).value == 0, hack
    flooded = {**RECEIPT, "void_menu": [{"nm": f"{number}"} for number in range(90)]}
    assert (score(sample, json.dumps(flooded)).value or 0) < 0.2


def test_phantom_forms_describe_the_images_of_phantom() -> None:
    sizes = {"train": 60, "unseen": 20}
    forms, plain = load("phantom-forms", None, sizes=sizes), load("phantom", None, sizes=sizes)
    assert [form.images for form in forms.samples] == [sample.images for sample in plain.samples]
    for form, sample in zip(forms.samples, plain.samples, strict=True):
        gold = json.loads(form.answer)
        assert list(gold) == list(phantom.FORM)
        assert gold["modality"] == sample.modality
        assert gold["count"] == phantom.NUMBERS[len(gold["where"])]
        assert (gold["size"] == "none") == (not gold["where"])
        if sample.topic in ("count", "size", "location", "side"):
            value = {"count": gold["count"], "size": gold["size"]}.get(sample.topic, gold["where"][0])
            assert sample.answer in value
        assert form.explanation.endswith(f"is {gold['size' if len(gold['where']) == 1 else 'count']}.")
    assert len({form.answer for form in forms.splits["train"]}) > 20
    form = forms.samples[0]
    reference = prompt.reference_completion(prompt.family("extract-json"), form)
    assert Extraction()(form, reference).value == 1
    assert set(json.loads(with_key_subset(form, random.Random(3)).answer)) < set(phantom.FORM)


def test_the_largest_lesion_is_the_one_with_the_largest_radius() -> None:
    several = [form for form in phantom.form_samples("train", 80) if json.loads(form.answer)["count"] == "four"]
    assert {json.loads(form.answer)["size"] for form in several} >= {"medium", "large"}


def test_plans_of_vie_cover_the_longest_receipts_before_the_data_are_prepared() -> None:
    lengths = sequence_lengths(load_recipe("vie"))
    assert (lengths.image, lengths.completion) == (1024, 1024)
    assert lengths.text > len(cord.QUESTION) / 4
    assert sequence_lengths(load_recipe("vie", ["data.source=sroie"])).text < lengths.text


@pytest.mark.parametrize("name", ["cord", "funsd", "sroie"])
def test_other_folders_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "train/img").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises((DataError, RecipeError)) as caught:
        KNOWN[name].rows(str(tmp_path), ImportOptions())
    assert caught.value.fix
