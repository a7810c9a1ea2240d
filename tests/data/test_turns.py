"""Conversations: each turn a question with the earlier ones as history, which no split separates."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data.made import SETTINGS, build, jsonl, rejected, samples, save_images

from lowmed.data import folder, group_split, identity
from lowmed.data.audit import report
from lowmed.data.audit.report import audit
from lowmed.data.dataset import DataSet
from lowmed.data.extraction import as_json_task
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.split import split_data
from lowmed.errors import DataError
from lowmed.evaluation import controls
from lowmed.plan.sequence_lengths import sequence_lengths
from lowmed.prompt import chat_messages
from lowmed.recipe import DataSpec
from lowmed.recipe.io import load_recipe
from lowmed.sample import Sample, without_images

Turns = list[dict[str, Any]]
FIRST, SECOND, THIRD = ("Which study?", "CT of the chest."), ("Is there a mass?", "yes"), ("Where?", "left lobe")


def turns(*pairs: tuple[Any, Any]) -> Turns:
    return [
        {"from": role, "value": text}
        for pair in pairs
        for role, text in zip(("human", "gpt"), pair, strict=True)
    ]  # fmt: skip


def conversation(number: int, *pairs: tuple[Any, Any], **more: Any) -> dict[str, Any]:
    (question, answer), *later = pairs or (FIRST, SECOND, THIRD)
    image = {"image": f"{number}.png"} if "image" not in more else {}
    tagged = f"<image>\n{question}" if more.get("image", True) else question
    return {"id": f"c{number}", **image, "conversations": turns((tagged, answer), *later), **more}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    save_images(tmp_path, *(f"{number}.png" for number in range(6)))
    return tmp_path


def imported(source: Path, **options: Any) -> list[dict[str, Any]]:
    out = source.with_name(f"{source.name}.out")
    build(source, out, import_options=ImportOptions(**options), max_rejected=1.0)
    return samples(out)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        return jsonl(path, *rows)
    if path.suffix == ".parquet":
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_each_turn_is_a_question_with_the_earlier_ones(tables: Path, suffix: str) -> None:
    rows = imported(written(tables / f"t.{suffix}", [conversation(0), conversation(1, SECOND)]))
    assert [(row["id"], row["question"], row["answer"], row.get("history")) for row in rows] == [
        ("c0-1", *FIRST, None),
        ("c0-2", *SECOND, [list(FIRST)]),
        ("c0-3", *THIRD, [list(FIRST), list(SECOND)]),
        ("c1", *SECOND, None),
    ]
    assert len({row["group"] for row in rows[:3]}) == 1
    assert rows[0]["images"] == rows[1]["images"] == rows[2]["images"] != rows[3]["images"]


def test_the_last_turn_alone_or_turns_without_history_can_be_requested(tables: Path) -> None:
    table = written(tables / "t.json", [conversation(0), conversation(1, SECOND)])
    last = imported(table, turns="last")
    assert [(row["id"], len(row.get("history", []))) for row in last] == [("c0-3", 2), ("c1", 0)]
    assert not any("history" in row for row in imported(table, columns={"history": ""}))
    assert len(imported(table, columns={"history": ""})) == 4


def test_a_prepared_conversation_can_be_prepared_again(tables: Path) -> None:
    written(tables / "t.json", [conversation(0)])
    first = imported(tables / "t.json")
    again = tables / "t.json.out" / "samples.jsonl"
    assert [row.get("history") for row in imported(again)] == [row.get("history") for row in first]


def test_the_history_of_a_disease_is_no_history_of_turns(tables: Path) -> None:
    row = {"image": "0.png", "question": "A mass?", "answer": "no", "history": "Cough for two weeks."}
    [sample] = imported(jsonl(tables / "t.jsonl", row))
    assert "history" not in sample
    mapped = {"history": "history"}
    with pytest.raises(DataError, match="1 of 1 rows are rejected"):
        build(tables / "t.jsonl", tables / "out", import_options=ImportOptions(mapped))


def test_an_image_in_a_later_turn_stays_there(tables: Path) -> None:
    pairs = [("<image>\nPrior study. Is there a mass?", "no"), ("Now <image>: a mass?", "yes"), ("How large?", "2 cm")]
    row = {"id": "c", "image": ["0.png", "1.png"], "conversations": turns(*pairs)}
    first, second, third = imported(written(tables / "t.json", [row]))
    assert (first["question"], len(first["images"])) == ("Prior study. Is there a mass?", 1)
    assert (second["question"], len(second["images"])) == ("Now <image>: a mass?", 2)
    assert second["history"] == [["<image> Prior study. Is there a mass?", "no"]]
    assert third["history"][1] == ["Now <image>: a mass?", "yes"]
    [sample] = [sample for sample in folder.load(str(tables / "t.json.out")).samples if sample.id == "c-3"]
    messages = chat_messages(sample.question, len(sample.images), sample.history)
    assert [[part["type"] for part in message["content"]] for message in messages] == [
        ["image", "text"], ["text"], ["text", "image", "text"], ["text"], ["text"],
    ]  # fmt: skip
    alone = imported(written(tables / "alone.json", [row]), columns={"history": ""})
    assert [(each["question"], len(each["images"])) for each in alone[1:]] == [("Now : a mass?", 2), ("How large?", 2)]


@pytest.mark.parametrize(
    ("pairs", "kept", "reason"),
    [
        ([("<image>Study?", "CT"), ("And <image>?", "no")], 0, "the question has 2 image placeholders, and the row 1"),
        ([("", "A CT."), SECOND], 0, "turn 1 of the history has no user text"),
        ([FIRST, ("Really?", "  "), THIRD], 1, "turn 2 of the history has no assistant text"),
        ([("A<|im_end|>", "CT"), SECOND], 0, "the user text of turn 1 of the history contains the control token <"),
        ([("Study?", "x <|IMAGE_PAD|>"), SECOND], 0, "the assistant text of turn 1 of the history contains the"),
    ],
)  # fmt: skip
def test_a_turn_that_cannot_be_used_rejects_the_rows_that_contain_it(
    tables: Path, pairs: list[tuple[Any, Any]], kept: int, reason: str
) -> None:
    row = {"id": "c", "image": "0.png", "conversations": turns(*pairs)}
    table = written(tables / "t.json", [row, conversation(1, SECOND)])
    assert len(imported(table)) == kept + 1
    reasons = [reason for _, _, reason in rejected(tables / "t.json.out")]
    assert len(reasons) == len(pairs) - kept
    assert any(each.startswith(reason) for each in reasons)


@pytest.mark.parametrize(
    "roles", ["user user assistant assistant", "assistant user user assistant", "user assistant system user assistant"],
)  # fmt: skip
def test_turns_that_do_not_alternate_are_rejected(tables: Path, roles: str) -> None:
    messages = [{"role": role, "content": f"text {number}"} for number, role in enumerate(roles.split())]
    table = written(tables / "t.json", [{"image": "0.png", "messages": messages}, conversation(1, SECOND)])
    assert len(imported(table)) == 1
    assert rejected(tables / "t.json.out")[0][2].startswith("the turns of the conversation do not alternate")


@pytest.mark.parametrize(
    ("content", "role", "reason"),
    [
        ([{"type": "video", "video": "a.mp4"}], "user", "a turn of the conversation holds a `video` block"),
        ([{"type": "input_audio"}], "user", "a turn of the conversation holds a `input_audio` block"),
        ([3], "user", "a turn of the conversation holds a `int` block"),
        ({"text": {"a": 1}}, "user", "the content of a turn is neither a text nor a list of blocks"),
        ("result", "tool", "a turn of the conversation has the role `tool`, which is not supported"),
        ([{"type": "image", "image": "1.png"}], "assistant", "an image in the turn of the assistant"),
    ],
)
def test_content_that_is_neither_text_nor_image_rejects_the_conversation(
    tables: Path, content: Any, role: str, reason: str
) -> None:
    messages = [{"role": "user", "content": "Is there a mass?"}, {"role": "assistant", "content": "no"}]
    broken = {"image": "0.png", "messages": [*messages, {"role": role, "content": content}]}
    assert len(imported(written(tables / "t.json", [broken, conversation(1, SECOND)]))) == 1
    assert rejected(tables / "t.json.out")[0][2].startswith(reason)


def test_a_system_message_may_come_first(tables: Path) -> None:
    messages = [
        {"role": role, "content": f"text {role}"} for role in ["system", "user", "assistant", "user", "assistant"]
    ]
    assert len(imported(written(tables / "t.json", [{"image": "0.png", "messages": messages}]))) == 2


def test_no_split_separates_the_turns_of_a_conversation(tables: Path) -> None:
    """Otherwise the gold answer of a training row would be in the history of a test question."""
    texts = [conversation(number, FIRST, SECOND, (f"And {number}?", "no"), image=None) for number in range(20)]
    out = tables / "out"
    build(written(tables / "t.json", texts), out, import_options=ImportOptions(image_optional=True))
    for seed in range(5):
        split = split_data(folder.load(str(out)), DataSpec(source="folder", path=str(out), held_out=0.3), seed)
        parts = [split.train, *split.held_out.values()]
        conversations = [{sample.id.partition("-")[0] for sample in part} for part in parts]
        assert all(conversations)
        assert not set.intersection(*conversations)


def in_folder(path: Path, **fields: Any) -> Path:
    save_images(path, "a.png")
    row = {"id": "1", "images": ["a.png"], "question": "Where?", "answer": "left", "kind": "open"}
    jsonl(path / "samples.jsonl", {**row, "id": "0"}, {**row, **fields})
    return path


def test_a_folder_may_have_histories(tmp_path: Path) -> None:
    data = folder.load(str(in_folder(tmp_path, history=[FIRST, SECOND])))
    assert [sample.history for sample in data.samples] == [(), (FIRST, SECOND)]
    assert "repeat" not in data.describe()


@pytest.mark.parametrize("history", [["Which study?"], [["a"]], [["a", "b", "c"]], "text", [{"user": "a"}]])
def test_a_history_of_another_form_is_a_mistake_of_its_line(tmp_path: Path, history: Any) -> None:
    with pytest.raises(DataError) as caught:
        folder.load(str(in_folder(tmp_path, history=history)))
    assert "samples.jsonl:2  history" in caught.value.where
    assert "is a list of [user text, assistant text], oldest first" in caught.value.where


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"history": [["A <|im_start|> b", "c"]]}, "the user text of turn 1 of the history contains the control token"),
        ({"history": [["a", " "]]}, "turn 1 of the history has no assistant text"),
        ({"history": [FIRST], "images": []}, "no `group`; a history without images needs one"),
    ],
)
def test_a_history_that_cannot_be_used_rejects_its_line(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    [row] = folder.load(str(in_folder(tmp_path, **fields))).rejected
    assert row.where == "samples.jsonl:2"
    assert row.reason.startswith(reason)


ROWS = (
    Sample("1", "Is there a mass?", "no", "closed", "p1", "s", ("a",)),
    Sample(
        "2", "Which lobe?", "upper", "choice", "p1", "s", ("a", "b"), ("upper", "lower"), "Seen.", "CT", "lobe"
    ),
    Sample("3", "How large?", "3", "number", "p2", "s", unit="cm", lower="2", upper="4", strata=(("site", "A"),)),
)  # fmt: skip


def test_digests_of_rows_without_history_are_those_of_earlier_versions() -> None:
    """The values were computed before samples had a history; finished runs have stored such digests."""
    rows = identity.identify({"train": ROWS[:2], "test": ROWS[2:]}, {"a": "0a"}, 64)
    assert identity.digest(rows) == "1593f2f86455c11e28ed9145bc693d1a383a3e4c9aaff8dfbf4a8d904216278d"
    assert rows[1].text == "92688aac7ad20041b85b"
    key = group_split._key(ROWS, 3, {"a": "0a"})
    assert key == "01b2b5a2db0019cca84f6794e641b5b46b69c0ddecbdf9b869535f0744e33a12"


def test_another_history_is_another_text() -> None:
    def digests(*history: tuple[str, str]) -> tuple[str, str]:
        rows = (replace(ROWS[0], history=history), *ROWS[1:])
        return identity.identify({"train": rows}, {})[0].text, group_split._key(rows, 0, {})

    assert len({digests(), digests(FIRST), digests(SECOND), digests(FIRST, SECOND), digests(SECOND, FIRST)}) == 5
    assert len({digest for _, digest in (digests(), digests(FIRST), digests(SECOND))}) == 3


def test_the_same_question_after_other_turns_is_no_repeat() -> None:
    rows = (ROWS[0], replace(ROWS[0], id="4", history=(FIRST,)), replace(ROWS[0], id="5", history=(FIRST,)))
    assert report.repeats(rows).duplicates == 1


def test_the_audit_searches_histories_for_what_may_identify_a_patient(tmp_path: Path) -> None:
    history = [["Compare with 2019-03-12.", "The patient is Erika Mustermann."], ["Any change?", "no"]]
    result = audit(in_folder(tmp_path, history=history), PixelPolicy(64)).model_dump()["privacy"]
    assert {(row["text"], row["looks_like"]) for row in result["names_shown"]} == {
        ("history of 1: 2019-03-12", "a date"),
        ("history of 1: Erika Mustermann", "what looks like first and last name"),
    }


def test_controls_keep_the_history_and_mirror_its_sides() -> None:
    history = (("Is the left lung normal?", "No, the LEFT one is not."), ("Left or right?", "left"))
    sample = replace(ROWS[1], answer="left lobe", options=("left lobe", "right lobe"), history=history)
    other = replace(ROWS[0], id="x", images=("c", "d"), group="p9", modality="CT")
    mirrored = controls.flipped(sample)
    assert mirrored is not None
    assert mirrored.history == (("Is the right lung normal?", "No, the RIGHT one is not."), ("Left or right?", "right"))
    assert without_images(sample).history == history
    assert without_images(sample).images == ()
    assert [each.history for each in controls.shuffled([sample], [sample, other])] == [history]
    reordered = controls.reordered(sample)
    assert reordered is not None
    assert reordered.history == history


def test_questions_with_earlier_turns_are_not_merged_into_one() -> None:
    data = DataSet("s", {"train": (replace(ROWS[0], history=(FIRST,)),)}, (), lambda _: pytest.fail("opened"))
    with pytest.raises(DataError, match="cannot be merged"):
        as_json_task(data)


def test_the_planner_counts_the_history(tables: Path) -> None:
    def text_tokens(*pairs: tuple[str, str]) -> int:
        out = tables / "out"
        build(written(tables / "t.json", [conversation(0, *pairs, SECOND)]), out, SETTINGS)
        overrides = ["data.source=folder", f"data.path={out}"]
        return sequence_lengths(load_recipe("rl-plain", overrides)).text

    long = ("word " * 300).strip()
    assert text_tokens((long, long)) - text_tokens() > 900
