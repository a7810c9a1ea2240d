"""Rows as other tools and data sets write them: each is read right, or rejected with the reason."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from data.made import build, jsonl, rejected, samples, save_images

from lowmed.api.prepare import prepare
from lowmed.data import folder
from lowmed.data.ingest.detect import ImportOptions
from lowmed.errors import DataError
from lowmed.prompt import build_messages, family

R1 = "Output the thinking process in <think> </think> and final answer (letter) in <answer> </answer> tags."
LISTED = "Which modality is this? A) CT, B) MRI, C) X-ray"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    save_images(tmp_path, *(f"im{number}.png" for number in range(4)))
    return tmp_path


def imported(place: Path, *rows: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    jsonl(place / "t.jsonl", *rows)
    build(place / "t.jsonl", place / "out", import_options=ImportOptions(**options), max_rejected=1.0)
    return samples(place / "out")


def reasons(place: Path, *rows: dict[str, Any], **options: Any) -> list[str]:
    """The reasons why these rows are rejected; a row that can be used comes first."""
    column = "images" if "images" in rows[0] else "image"
    usable = {column: "im3.png", "question": "Is there a scar?", "answer": "no"}
    assert len(imported(place, usable, *rows, **options)) == 1
    return [reason for _, _, reason in rejected(place / "out")]


QUESTION, GOLD = "Is there a mass?", "yes"
USER = [{"role": "user", "content": f"<image>{QUESTION}"}]
ASSISTANT = [{"role": "assistant", "content": GOLD}]
FORMS: dict[str, dict[str, Any]] = {
    "plain": {"image": "im0.png", "question": QUESTION, "answer": GOLD},
    "LLaVA": {"image": "im0.png", "conversations": [
        {"from": "human", "value": f"<image>\n{QUESTION}"}, {"from": "gpt", "value": GOLD}]},
    "ShareGPT": {"images": ["im0.png"], "system": "You are a radiologist.", "conversations": [
        {"from": "human", "value": f"<image>{QUESTION}"}, {"from": "gpt", "value": GOLD}]},
    "chat": {"images": ["im0.png"], "messages": USER + ASSISTANT},
    "chat with a system turn": {"images": ["im0.png"], "messages": [
        {"role": "system", "content": "You are a radiologist."}, *USER, *ASSISTANT]},
    "blocks with file names": {"messages": [
        {"role": "user", "content": [{"type": "image", "image": "im0.png"}, {"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": [{"type": "text", "text": GOLD}]}]},
    "blocks with marks": {"images": ["im0.png"], "messages": [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}, *ASSISTANT]},
    "blocks without types": {"messages": [
        {"role": "user", "content": [{"image": "im0.png"}, {"text": QUESTION}]},
        {"role": "assistant", "content": [{"text": GOLD}]}]},
    "image_url blocks": {"messages": [
        {"role": "user", "content": [{"type": "text", "text": QUESTION},
                                     {"type": "image_url", "image_url": {"url": "im0.png"}}]}, *ASSISTANT]},
    "TRL prompt and completion": {"images": ["im0.png"], "prompt": USER, "completion": ASSISTANT},
    "TRL prompt and solution": {"images": ["im0.png"], "prompt": USER, "solution": f"<answer>{GOLD}</answer>"},
    "verl": {"images": ["im0.png"], "prompt": USER, "reward_model": {"style": "rule", "ground_truth": GOLD}},
    "R1 problem and solution": {"image": "im0.png", "problem": QUESTION, "solution": f"<answer> {GOLD} </answer>"},
    "swift query and response": {"images": ["im0.png"], "query": f"<image>{QUESTION}", "response": GOLD, "history": []},
    "swift messages and solution": {"images": ["im0.png"], "messages": USER, "solution": GOLD},
    "Alpaca": {"images": ["im0.png"], "instruction": f"<image>{QUESTION}", "input": "", "output": GOLD},
    "Qwen's tokens": {"image": "im0.png", "question": f"<|vision_start|><|image_pad|><|vision_end|>{QUESTION}",
                      "answer": GOLD},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_record_gives_the_same_question(place: Path, form: str) -> None:
    [sample] = imported(place, FORMS[form])
    question = sample["question"].removesuffix("<image>")  # a block may put the image after the text
    assert (question, sample["answer"], sample["kind"], len(sample["images"])) == (QUESTION, GOLD, "closed", 1)
    assert sample["images"] == imported(place, FORMS["plain"])[0]["images"]


def test_what_was_left_out_is_counted(place: Path) -> None:
    chat = [{"role": "user", "content": f"{LISTED} {R1}"}, {"role": "assistant", "content": "B"}]
    rows: list[dict[str, Any]] = [FORMS["chat with a system turn"], {"images": ["im1.png"], "messages": chat}]
    jsonl(place / "t.jsonl", *rows)
    report = prepare(str(place / "t.jsonl"), place / "out")
    assert report.notes == {
        "the system message was left out; set prompts.system": 1,
        "an instruction how to answer was removed from the question": 1,
    }
    card = json.loads((place / "out/card.json").read_text())
    assert card["notes"] == report.notes


def test_reasoning_of_the_assistant_is_the_explanation(place: Path) -> None:
    completion = "<think>Fluid is bright.</think><answer>B</answer>"
    rows: list[dict[str, Any]] = [
        {"image": "im0.png", "question": LISTED, "answer": completion},
        {"image": "im1.png", "messages": [
            {"role": "user", "content": LISTED}, {"role": "assistant", "content": completion}]},
        {"image": "im2.png", "solution": "B", "messages": [
            {"role": "user", "content": LISTED}, {"role": "assistant", "content": "Fluid is bright."}]},
    ]  # fmt: skip
    for sample in imported(place, *rows):
        assert (sample["answer"], sample["explanation"]) == ("MRI", "Fluid is bright.")


@pytest.mark.parametrize(
    ("question", "answer", "options"),
    [
        (f"{LISTED} {R1}", "C", ["CT", "MRI", "X-ray"]),
        ("Which modality? a) CT b) MRI c) X-ray", "C", ["CT", "MRI", "X-ray"]),
        ("Which modality? 1) CT 2) MRI 3) X-ray", "3", ["CT", "MRI", "X-ray"]),
        ("Which modality? 1) CT 2) MRI 3) X-ray", "x-ray", ["CT", "MRI", "X-ray"]),
        ("Which modality?\nA. CT\nB. MRI\nC. X-ray", "C. X-ray", ["CT", "MRI", "X-ray"]),
    ],
)
def test_options_in_the_question_make_a_choice(place: Path, question: str, answer: str, options: list[str]) -> None:
    [sample] = imported(place, {"image": "im0.png", "question": question, "answer": answer})
    assert (sample["kind"], sample["options"], sample["answer"]) == ("choice", options, "X-ray")
    assert sample["question"].startswith("Which modality")
    assert "CT" not in sample["question"]


def test_letters_that_name_images_are_no_options(place: Path) -> None:
    question = "Image A: T1 weighted. Image B: T2 weighted. In which image is the lesion bright?"
    row = {"images": ["im0.png", "im1.png"], "question": question}
    [sample] = imported(place, {**row, "answer": "Image B"})
    assert (sample["question"], sample["kind"], sample["options"]) == (question, "open", [])
    assert reasons(place, {**row, "answer": "B"}) == ["the answer is a letter, and the row has no options"]


def test_a_letter_beyond_the_options_in_the_question_is_refused(place: Path) -> None:
    row = {"image": "im0.png", "question": LISTED, "answer": "E"}
    assert reasons(place, row) == ["the answer is none of the options in the question"]


def test_a_column_for_each_image_is_a_list_of_images(place: Path) -> None:
    images = {"image_1": "im0.png", "image_2": "im1.png", "image_3": "im2.png", "image_4": None}
    row = {"question": "<image 1> Which is alike?", "options": "['<image 2>', '<image 3>']", "answer": "B", **images}
    [sample] = imported(place, row)
    assert (len(sample["images"]), sample["options"]) == (3, ["image 2", "image 3"])
    assert (sample["question"], sample["answer"]) == ("image 1 Which is alike?", "image 3")
    with pytest.raises(DataError, match="1 of 1 rows"):
        imported(place, {**row, "options": "['<image 2>', 'none']"})


def test_names_of_images_may_be_separated_by_commas(place: Path) -> None:
    [sample] = imported(place, {"image": "im0.png, im1.png", "question": "Same?", "answer": "no"})
    assert len(sample["images"]) == 2


def test_several_answers_are_all_accepted(place: Path) -> None:
    [sample] = imported(place, {"image": "im0.png", "question": "What is seen?", "answer": ["effusion", "fluid"]})
    assert (sample["answer"], sample["accepted"]) == ("effusion", ["fluid"])
    [loaded] = folder.load(str(place / "out")).samples
    assert loaded.accepted == ("fluid",)


@pytest.mark.parametrize("answer", ["A,C", "AC", ["A", "C"], "A and C", ["effusion", "fracture"]])
def test_several_right_options_are_refused_by_name(place: Path, answer: Any) -> None:
    options = ["effusion", "mass", "fracture", "normal"]
    row = {"image": "im0.png", "question": "Which findings are present?", "options": options, "answer": answer}
    assert reasons(place, row) == ["several options are right; a choice has one"]


@pytest.mark.parametrize(
    ("images", "question", "expected"),
    [
        (["im0.png"], "<image>\n<image>\nWhich of both?", "the question has 2 image placeholders, and the row 1 image"),
        (["im0.png", "im1.png"], "<image>\nA fracture?", "the question has 1 image placeholder, and the row 2 images"),
        (["im0.png"], "Is <image 2> or <image 1>?", "the question has 2 image placeholders, and the row 1 image"),
        (["im0.png"], "<|im_start|>Is there a mass?", "the question contains the control token <|im_start|>"),
        (["im0.png"], "Is there a mass?<|im_end|>", "the question contains the control token <|im_end|>"),
        (["im0.png"], "Is there a mass?<end_of_turn>", "the question contains the control token <end_of_turn>"),
        (["im0.png"], "[INST] Is there a mass? [/INST]", "the question contains the control token [INST]"),
        (["im0.png"], "<video>Is there a mass?", "the question contains the control token <video>"),
        (["im0.png"], "Is there a mass?</s>", "the question contains the control token </s>"),
    ],
)  # fmt: skip
def test_marks_that_do_not_fit_are_refused_by_name(
    place: Path, images: list[str], question: str, expected: str
) -> None:
    assert reasons(place, {"images": images, "question": question, "answer": "the second"}) == [expected]


@pytest.mark.parametrize("field", ["answer", "explanation", "options"])
def test_control_tokens_are_refused_in_every_text(place: Path, field: str) -> None:
    row = {"image": "im0.png", "question": "Which?", "answer": "CT", "options": ["CT", "MRI"], "explanation": "Seen."}
    values = {"answer": "CT<|im_end|>", "explanation": "Seen.<|im_end|>", "options": ["CT", "MRI<|im_end|>"]}
    if field == "answer":
        del row["options"]
    [reason] = reasons(place, {**row, field: values[field]})
    assert reason.endswith("contains the control token <|im_end|>")


def test_images_stay_at_their_places_in_the_prompt(place: Path) -> None:
    question = "Prior: <image 1> Current: <image 2> Has it healed?"
    imported(place, {"images": ["im0.png", "im1.png"], "question": question, "answer": "yes"})
    [sample] = folder.load(str(place / "out")).samples
    [message] = build_messages(family("direct"), sample)
    assert [part.get("text", "<image>").strip() for part in message["content"]][:4] == [
        "Prior:", "<image>", "Current:", "<image>",
    ]  # fmt: skip
    assert "Has it healed?" in message["content"][4]["text"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (datetime.datetime(2025, 3, 4), "a cell holds the date `2025-03-04"),
        (datetime.time(3, 4), "a cell holds the time `03:04"),
        ("#N/A", "a cell holds #N/A, the error of a spreadsheet"),
        ("#REF!", "a cell holds #REF!"),
        ("04-Mar", "the answer is `04-Mar`; a spreadsheet may have made it"),
        ("Mar-04", "the answer is `Mar-04`"),
        ("2025-03-04 00:00:00", "the answer is `2025-03-04 00:00:00`"),
    ],
)
def test_answers_that_excel_destroyed_are_refused_by_name(place: Path, answer: Any, expected: str) -> None:
    from openpyxl import Workbook  # type: ignore[import-untyped]

    book = Workbook()
    book.active.append(["image", "question", "answer", "patient"])
    book.active.append(["im0.png", "How many lesions?", answer, datetime.date(2025, 1, 1)])
    book.active.append(["im1.png", "Is there a mass?", "yes", datetime.date(2025, 1, 2)])
    book.save(place / "t.xlsx")
    build(place / "t.xlsx", place / "out", max_rejected=1.0)
    assert [sample["answer"] for sample in samples(place / "out")] == ["yes"]
    [(_, line, reason)] = rejected(place / "out")
    assert line == 2
    assert reason.startswith(expected)


@pytest.mark.parametrize(
    ("value", "number_format", "answer"),
    [
        (0.3, "0%", "30%"), (0.125, "0.0%", "12.5%"), (2.5, '0.0" cm"', "2.5 cm"), (3, "General", "3"),
        (1.1, "0.00", "1.1"), (4, '0" lesions"', "4 lesions"), (-0.5, "0%;-0%", "-50%"),
    ],
)  # fmt: skip
def test_numbers_of_excel_keep_their_unit(place: Path, value: float, number_format: str, answer: str) -> None:
    from openpyxl import Workbook

    book = Workbook()
    book.active.append(["image", "question", "answer"])
    book.active.append(["im0.png", "How large?", value])
    book.active["C2"].number_format = number_format
    book.save(place / "t.xlsx")
    build(place / "t.xlsx", place / "out")
    assert samples(place / "out")[0]["answer"] == answer


def test_a_date_that_the_question_asks_for_is_read(place: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    book.active.append(["image", "question", "answer", "answer_type"])
    book.active.append(["im0.png", "Which date is printed?", datetime.datetime(2025, 3, 4), "date"])
    book.save(place / "t.xlsx")
    build(place / "t.xlsx", place / "out")
    assert samples(place / "out")[0]["answer"] == "2025-03-04"


FRENCH = "image;question;answer\nim0.png;Où est la lésion ?;à gauche\nim1.png;Y a-t-il une lésion à droite ?;non\n"


@pytest.mark.parametrize("encoding", ["windows-1252", "latin-1", "utf-16-le", "gb18030"])
def test_a_table_in_another_encoding_is_named_and_read(place: Path, encoding: str) -> None:
    text = FRENCH if encoding != "gb18030" else FRENCH.replace("lésion", "病变")
    (place / "t.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=r"not UTF-8|UTF-16") as caught:
        build(place / "t.csv", place / "out")
    assert "--encoding" in caught.value.fix
    build(place / "t.csv", place / "out", import_options=ImportOptions(encoding=encoding))
    assert samples(place / "out")[0]["answer"] == "à gauche"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_with_a_mark_is_read(place: Path, encoding: str) -> None:
    (place / "t.csv").write_bytes(FRENCH.encode(encoding))
    build(place / "t.csv", place / "out")
    assert samples(place / "out")[0]["answer"] == "à gauche"


BOX = {"image": "big.png", "question": "Give the box of the nodule as [x1, y1, x2, y2]."}


@pytest.mark.parametrize(
    ("answer", "scaled"),
    [
        ([1000, 400, 2000, 800], "[168, 70, 336, 140]"), ("[1000, 400, 2000, 800]", "[168, 70, 336, 140]"),
        ('{"bbox_2d": [1000, 400, 2000, 800]}', '{"bbox_2d": [168, 70, 336, 140]}'),
        ("(1000, 400), (2000, 800)", "(168, 70), (336, 140)"),
        ("At [1000, 400, 2000, 800].", "At [168, 70, 336, 140]."),
        ("(1000, 400, 2000, 800)", "(168, 70, 336, 140)"),
        ([1000.0, 400.5, 2000.0, 800.0], "[168.0, 70.1, 336.0, 140.0]"),
    ],
)  # fmt: skip
def test_boxes_in_pixels_move_with_their_image(place: Path, answer: Any, scaled: str) -> None:
    from data.made import make_image

    make_image(0, (2000, 800)).save(place / "big.png")
    [reason] = reasons(place, {**BOX, "answer": answer})
    assert reason.startswith("a box, and its image of 2000 x 800 pixels is stored as 336 x 140: name the unit")
    [sample] = imported(place, {**BOX, "answer": answer}, boxes="pixels")
    assert sample["answer"] == scaled


def test_boxes_that_need_no_scaling_are_kept(place: Path) -> None:
    from data.made import make_image

    make_image(0, (2000, 800)).save(place / "big.png")
    make_image(0, (140, 56)).save(place / "small.png")
    small = {**BOX, "image": "small.png"}
    assert imported(place, {**BOX, "answer": "[0.1, 0.2, 0.3, 0.4]"})[0]["answer"] == "[0.1, 0.2, 0.3, 0.4]"
    assert (
        imported(place, {**BOX, "answer": "[100, 200, 300, 400]"}, boxes="thousandths")[0]["answer"]
        == "[100, 200, 300, 400]"
    )
    assert imported(place, {**small, "answer": "[10, 20, 140, 56]"})[0]["answer"] == "[10, 20, 140, 56]"
    assert imported(place, {**BOX, "question": "Which leads?", "answer": "leads (1, 2, 3, 4)"})
    [outside] = reasons(place, {**small, "answer": "[10, 20, 900, 56]"})
    assert outside.startswith("a box is outside of the image of 140 x 56 pixels")
    [negative] = reasons(place, {**BOX, "answer": "[-5, 20, 90, 56]"}, boxes="pixels")
    assert negative.startswith("a box is outside")
    [relative] = reasons(place, {**BOX, "answer": "[10, 20, 90, 56]"}, boxes="relative")
    assert relative.startswith("a box has a number outside of 0 to 1")
