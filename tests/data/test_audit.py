"""The audit finds every planted problem and none in clean data; its record and its pages."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.made import build, jsonl, lines, make_image, row, save_images
from PIL import Image, ImageDraw, PngImagePlugin

from lowmed import prompt
from lowmed.api import audit as api
from lowmed.data import validate
from lowmed.data.audit import burned_in_text, near_duplicates, phi_patterns
from lowmed.data.audit.record import AuditRecord
from lowmed.data.audit.report import audit as run_audit
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest.prepared_folder import data_card
from lowmed.data.load import load
from lowmed.errors import DataError
from lowmed.recipe.io import load_recipe
from lowmed.records import read_record
from lowmed.report.data_page import audit_page, show_page
from lowmed.report.data_sheet import WEIGHTS, rows, terminal
from lowmed.report.templates import SCRIPT
from lowmed.sample import Sample

POLICY = PixelPolicy(64)
Document = dict[str, Any]


def audit(*arguments: Any) -> Document:
    document: Document = run_audit(*arguments).model_dump(mode="json")
    return document


def made(tmp_path: Path, *changes: dict[str, Any], count: int = 6) -> Path:
    """A clean data set, except for the changes to its last rows."""
    names = [f"{number}.png" for number in range(count)]
    save_images(tmp_path, *names)
    table = [
        row(number, names[number], split="test" if number % 3 == 2 else "train", patient=f"p{number}", modality="CT")
        for number in range(count)
    ]
    for number, change in enumerate(changes, start=count - len(changes)):
        table[number] |= change
    build(jsonl(tmp_path / "t.jsonl", *table), tmp_path / "out")
    return tmp_path / "out"


def test_a_clean_data_set_passes(tmp_path: Path) -> None:
    result = audit(made(tmp_path), POLICY)
    assert (result["verdict"], result["reasons"], result["leaks"]) == ("pass", [], [])
    assert result["privacy"]["text"] == result["privacy"]["names"] == result["near"]["pairs"] == 0


def test_a_patient_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    result = audit(made(tmp_path, {"patient": "p0"}), POLICY)
    assert result["reasons"] == ["1 of 2 test groups are also in train (1 of 2 questions)"]
    assert {each["kind"] for each in result["leaks"]} == {"groups"}


def test_the_same_image_in_another_file_is_a_leak_of_pixels(tmp_path: Path) -> None:
    make_image(0).save(tmp_path / "copy.bmp")
    result = audit(made(tmp_path, {"image": "copy.bmp"}), POLICY)
    assert {each["kind"] for each in result["leaks"]} == {"images", "decoded pixels"}
    assert result["verdict"] == "fail"


@pytest.mark.parametrize(
    ("copy", "kinds"), [("copy.png", {"files", "decoded pixels"}), ("copy.bmp", {"decoded pixels"})]
)
def test_the_same_image_under_two_names_is_a_leak_in_a_folder_that_was_not_prepared(
    tmp_path: Path, copy: str, kinds: set[str]
) -> None:
    save_images(tmp_path, *(f"{number}.png" for number in range(4)))
    image = Image.open(tmp_path / "0.png")
    image.save(tmp_path / copy)
    if copy == "copy.png":
        (tmp_path / copy).write_bytes((tmp_path / "0.png").read_bytes())
    table = [
        {"id": name, "images": [name], "question": "CT?", "answer": "no", "kind": "closed", "split": split}
        for name, split in (
            ("0.png", "train"),
            ("1.png", "train"),
            ("2.png", "train"),
            (copy, "test"),
            ("3.png", "test"),
        )
    ]
    jsonl(tmp_path / "samples.jsonl", *table)
    result = audit(tmp_path, POLICY)
    assert (result["verdict"], {each["kind"] for each in result["leaks"]}) == ("fail", kinds)
    clean = api.audit(tmp_path, resplit="image").resplit
    assert clean is not None
    split_of = {line["id"]: line["split"] for line in lines(tmp_path / clean.file)}
    assert split_of["0.png"] == split_of[copy]
    build(tmp_path / "samples.jsonl", tmp_path / "out")
    across = audit(tmp_path / "out", POLICY, (tmp_path,))
    assert {each["kind"] for each in across["leaks"] if each["a"].startswith("other data 1 ")} >= {"decoded pixels"}


def test_a_near_duplicate_is_shown_and_does_not_fail_the_audit(tmp_path: Path) -> None:
    Image.fromarray(np.clip(np.asarray(make_image(0)).astype(int) + 3, 0, 255).astype(np.uint8)).save(
        tmp_path / "like.png"
    )
    out = made(tmp_path, {"image": "like.png"})
    result = audit(out, POLICY)
    assert (result["verdict"], result["near"]["pairs"]) == ("pass", 1)
    page = audit_page(run_audit(out, POLICY), out)
    assert page.count("data:image/jpeg") == 2
    assert len(lines(out / "samples.jsonl")) == 6


def test_conflicts_and_repeats_are_counted_separately(tmp_path: Path) -> None:
    question = {"question": "Is it big?", "image": "0.png", "patient": "p0", "split": "train"}
    result = audit(
        made(tmp_path, {**question, "answer": "yes"}, {**question, "answer": "no"}, {**question, "answer": "No"}),
        POLICY,
    )
    assert (result["repeats"]["duplicates"], result["repeats"]["conflicts"]) == (2, 1)


def test_a_gold_answer_that_does_not_read_back_fails_the_audit(tmp_path: Path) -> None:
    result = audit(made(tmp_path, {"answer": "{broken", "kind": "json"}), POLICY)
    assert result["gold"]["unread"] == 1
    assert "1 gold answers do not read back" in result["reasons"][0]


def test_broken_and_missing_images_are_counted(tmp_path: Path) -> None:
    out = made(tmp_path)
    first, second, *_ = sorted((out / "images").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:60])
    result = audit(out, POLICY)
    assert (result["images"]["loaded"], result["images"]["expected"]) == (4, 6)
    assert "4 images loaded of 6 expected" in result["reasons"][0]


def test_metadata_and_names_in_a_users_folder_are_found(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Patient", "Mueller")
    make_image(1).save(tmp_path / "Anna_Mueller 1950-01-01.png", pnginfo=texts)
    make_image(2).save(tmp_path / "b.png")
    table = [
        {"id": name[0], "images": [name], "question": "CT?", "answer": "no", "kind": "closed"}
        for name in ("Anna_Mueller 1950-01-01.png", "b.png")
    ]
    jsonl(tmp_path / "samples.jsonl", *table)
    result = audit(tmp_path, POLICY)
    assert (result["privacy"]["metadata"], result["privacy"]["names"]) == (1, 1)
    assert "contain metadata" in result["reasons"][0]
    assert "Mueller" not in json.dumps(result["privacy"]["metadata_shown"][0]["contains"])


def test_names_of_rejected_files_in_a_folder_of_an_earlier_version_are_found(tmp_path: Path) -> None:
    save_images(tmp_path, *(f"{number}.png" for number in range(3)))
    table = [row(number, f"{number}.png") for number in range(3)] + [row(3, "gone.png")]
    build(jsonl(tmp_path / "Anna_Mueller.jsonl", *table), tmp_path / "out", max_rejected=0.5)
    assert audit(tmp_path / "out", POLICY)["privacy"]["names"] == 0
    jsonl(tmp_path / "out/rejected.jsonl", {"file": "Anna_Mueller.jsonl", "line": 4, "reason": "no image"})
    assert audit(tmp_path / "out", POLICY)["privacy"]["names_shown"][0]["text"] == "Anna_Mueller.jsonl"


@pytest.mark.parametrize(
    "text",
    ["19500101", "1950-01-01/a.png", "Mueller^Anna", "Anna Mueller.png", "patient_0042", "MRN12345", "s-12345678.png"],
)
def test_texts_that_may_identify_a_patient_are_suspected(text: str) -> None:
    assert phi_patterns.phi_in_text(text)


@pytest.mark.parametrize(
    "text", ["images/0a703cfc8e6f5a130295.png", "synpic100132.jpg", "q12", "train/0/0", "chest x-ray.png"]
)
def test_harmless_texts_are_not_suspected(text: str) -> None:
    assert phi_patterns.phi_in_text(text) == ""


def test_burned_in_text_is_found_and_anatomy_is_not() -> None:
    for seed in range(20):
        assert burned_in_text.text_rows(make_image(seed, (448, 448))) == []
    written = make_image(1, (448, 448)).point(lambda value: value // 4)
    ImageDraw.Draw(written).text((20, 20), "MUELLER ANNA 01.01.1950", fill=255)
    assert burned_in_text.text_rows(written)
    inverted = Image.new("L", (300, 200), 255)
    ImageDraw.Draw(inverted).text((20, 20), "Hospital of Somewhere", fill=0)
    assert burned_in_text.text_rows(inverted)


def test_near_pairs_are_all_pairs_within_the_distance_and_no_others() -> None:
    generator = np.random.default_rng(0)
    left = [int(each) for each in generator.integers(0, 2**63, 700, dtype=np.uint64)]
    right = [left[5] ^ 0b111, left[600] ^ 0b11111, *map(int, generator.integers(0, 2**63, 40, dtype=np.uint64))]
    assert list(near_duplicates.near_pairs(left, right)) == [(5, 0, 3)]
    assert list(near_duplicates.near_pairs([], right)) == []


class Scripts(HTMLParser):
    """Collects what a page loads or runs."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.loaded += [tag] * (tag in ("script", "link", "iframe", "object"))
        self.loaded += [
            value for name in ("src", "href") if (value := attributes.get(name)) and not value.startswith("data:")
        ]
        self.loaded += [name for name in attributes if name.startswith("on")]


def test_pages_have_their_own_script_alone_and_escape_everything(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    out = made(tmp_path, {"question": evil, "answer": evil, "topic": evil, "patient": "p0"})
    pages = [audit_page(run_audit(out, POLICY), out)]
    shown = rows(
        load("folder", str(out)), POLICY, [prompt.family("direct"), prompt.family("diverse")], questions=9, seed=0
    )
    pages.append(show_page(evil, shown, out))
    for page in pages:
        parser = Scripts()
        parser.feed(page)
        assert parser.loaded == ["script"]
        assert page.count(f"<script>{SCRIPT}</script>") == 1
    assert "&lt;script&gt;" in pages[1]


def test_the_tokenizer_of_a_local_model_counts(tmp_path: Path) -> None:
    out = made(tmp_path)
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(WEIGHTS / "tokenizer.json", model)

    def sheet(name: str) -> dict[str, Any]:
        data = load("folder", str(out))
        return rows(data, POLICY, [prompt.family("diverse")], questions=1, seed=0, split="test", model=name)[0]

    assert sheet(str(model))["tokenizer"] == str(model)
    assert sheet(str(model))["prompts"] == sheet("")["prompts"]
    absent = "nano's; that of owner/absent is not on this machine"
    assert sheet("owner/absent")["tokenizer"] == absent
    (model / "tokenizer.json").unlink()
    assert "is not on this machine" in sheet(str(model))["tokenizer"]
    lines = terminal(sheet("")).splitlines()
    assert [line.split(",")[0].strip() for line in lines if " wording " in line] == [
        "wording 2",
        "wording 3",
        "wording 4",
    ]


def test_the_sheet_shows_what_the_model_is_given(tmp_path: Path) -> None:
    out = made(tmp_path)
    shown = rows(load("folder", str(out)), POLICY, [prompt.family("diverse")], questions=1, seed=0, split="test")
    (only,) = shown
    assert [wording["wording"] for wording in only["prompts"]] == [1, 2, 3, 4]
    first = only["prompts"][0]
    assert first["messages"][0]["content"][0] == {"type": "image"}
    assert only["question"] in first["chat"]
    assert first["chat"].startswith("<|im_start|>system")
    assert only["image_tokens"] == 9  # 96 x 80 pixels are 3 x 3 tokens
    assert first["prompt_tokens"] == first["text_tokens"] + 9
    assert only["question"] in terminal(only)
    with pytest.raises(DataError, match="no split `dev`"):
        rows(load("folder", str(out)), POLICY, [prompt.family("direct")], questions=1, seed=0, split="dev")


@pytest.mark.slow
def test_the_tokens_of_the_sheet_are_those_of_the_real_processor(tmp_path: Path) -> None:
    import lowmed.nano

    transformers = pytest.importorskip("transformers")
    processor = transformers.AutoProcessor.from_pretrained(Path(lowmed.nano.__file__).parent / "weights")
    out = made(tmp_path)
    data = load("folder", str(out))
    (shown,) = rows(data, POLICY, [prompt.family("reasoning")], questions=1, seed=0, split="test")
    chat = processor.apply_chat_template(shown["prompts"][0]["messages"], add_generation_prompt=True)
    assert chat == shown["prompts"][0]["chat"]
    encoded = processor(text=[chat], images=[data.open_image(shown["images"][0]).convert("RGB")])
    assert len(encoded["input_ids"][0]) == shown["prompts"][0]["prompt_tokens"]


def sample(number: int, image: str, **changes: Any) -> Sample:
    defaults = {
        "question": "CT?",
        "answer": "no",
        "kind": "closed",
        "group": image,
        "source": "made",
        "images": (image,),
    }
    return Sample(id=str(number), **{**defaults, **changes})


def test_problems_are_refused_unless_allowed_by_name() -> None:
    train = [sample(1, "a"), sample(2, "b", group="p")]
    held_out = {"test": [sample(3, "a"), sample(4, "c", group="p"), sample(5, "d", answer="{broken", kind="json")]}
    result = validate.find_problems(train, held_out)
    assert [each.name for each in result] == ["shared-images", "shared-groups", "unreadable-gold"]
    assert result[0].what == "1 of 3 test images are trained on"
    with pytest.raises(DataError, match="would be wrong") as caught:
        validate.raise_unless_allowed(result, {"shared-images"})
    assert "shared-groups" in caught.value.where
    assert "shared-images" not in caught.value.where
    stamps = validate.raise_unless_allowed(result, {"shared-images", "shared-groups", "unreadable-gold"})
    assert stamps == tuple(each.what for each in result)
    assert validate.raise_unless_allowed(validate.find_problems(train, {"test": [sample(9, "z")]})) == ()


@pytest.mark.parametrize("name", ["card.json", "audit.json"])
def test_a_record_of_a_newer_version_is_refused(tmp_path: Path, name: str) -> None:
    out = made(tmp_path)
    file = out / name
    content = run_audit(out, POLICY).model_dump(mode="json") if name == "audit.json" else json.loads(file.read_text())
    file.write_text(json.dumps({**content, "format": 2, "unknown": 1}))
    with pytest.raises(DataError) as caught:
        data_card(out) if name == "card.json" else read_record(file, AuditRecord, error=DataError)
    assert caught.value.what == "written by a newer version of lowmed (format 2, this version reads 1)"
    assert (caught.value.where, caught.value.fix) == (str(file), "update lowmed: pip install -U lowmed")


def test_the_audit_is_read_back_as_it_was_written_and_damage_is_named(tmp_path: Path) -> None:
    out = made(tmp_path)
    audited, file = run_audit(out, POLICY), out / "audit.json"
    file.write_text(audited.model_dump_json())
    assert read_record(file, AuditRecord, error=DataError) == audited
    for damage in ('{"format": 1, "counts": {', "[]", '{"format": 1}'):
        file.write_text(damage)
        with pytest.raises(DataError, match="audit"):
            read_record(file, AuditRecord, error=DataError)


def test_a_damaged_card_is_refused_and_that_of_another_program_ignored(tmp_path: Path) -> None:
    out = made(tmp_path)
    card = json.loads((out / "card.json").read_text())
    del card["rows"]
    (out / "card.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match="rows missing or wrong"):
        data_card(out)
    (out / "card.json").write_text('{"title": "a model card"}')
    assert data_card(out) is None


def test_golds_that_cannot_be_learnt_are_points_for_review(tmp_path: Path) -> None:
    save_images(tmp_path, *(f"{number}.png" for number in range(4)))
    golds = ["B", "[10, 20, 5000, 40]", "[10, 20, 30, 40]", "yes"]
    rows_ = [
        {"id": str(at), "images": [f"{at}.png"], "question": "Where?", "answer": gold, "kind": "open"}
        for at, gold in enumerate(golds)
    ]
    jsonl(tmp_path / "samples.jsonl", *rows_)
    result = audit(tmp_path, POLICY)
    assert (result["gold"]["letters"], result["gold"]["outside"]) == (1, 1)
    assert "1 gold answers are a letter, and the questions have no options" in result["review"]
    assert "1 gold answers hold a box outside of the stored image" in result["review"]


def test_rows_that_are_too_long_for_a_recipe_are_points_for_review(tmp_path: Path) -> None:
    save_images(tmp_path, "0.png", "1.png")
    rows_ = [
        {"id": str(at), "images": [f"{at}.png"], "question": "Where?", "answer": answer, "kind": "open", "split": split}
        for at, (answer, split) in enumerate([("left", "train"), ("The mass is on the left. " * 200, "test")])
    ]
    jsonl(tmp_path / "samples.jsonl", *rows_)
    result = api.audit(tmp_path, recipe=load_recipe("rarl", nano=True))
    assert any(note.startswith("1 held-out answers need more than the 256 tokens") for note in result.review)
