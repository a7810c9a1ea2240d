"""Questions about one image merged into one JSON object, and subsets of its keys."""

import json
import random
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lowmed.control_tokens import control_token
from lowmed.data.dataset import DataSet
from lowmed.data.extraction import as_json_task, with_key_subset
from lowmed.data.load import load
from lowmed.data.split import split_data
from lowmed.data.validate import reads_back
from lowmed.engine import training_data
from lowmed.recipe import DataSpec
from lowmed.sample import Sample


def open_sample(name: str, image: str, question: str, answer: str, topic: str = "") -> Sample:
    return Sample(name, question, answer, "open", image, "t", images=(image,), topic=topic)


def gathered(*samples: Sample) -> tuple[Sample, ...]:
    data = DataSet("made", {"train": samples}, (), lambda _: Image.new("RGB", (28, 28)))
    return as_json_task(data).splits["train"]


def test_the_questions_of_an_image_become_one_object_keyed_by_topic() -> None:
    choice = replace(open_sample("3", "a", "Which?", "CT", "Modality"), kind="choice", options=("CT", "MRI"))
    first, second = gathered(
        open_sample("1", "a", "Where is it?", "left", "POS, PRES"), open_sample("2", "b", "Is it?", "yes"), choice
    )
    assert json.loads(first.answer) == {"pos_pres": "left", "modality": "CT"}
    assert '"pos_pres": Where is it?\n"modality": Which? (one of CT, MRI)' in first.question
    assert (first.kind, first.group, first.images) == ("json", "a", ("a",))
    assert json.loads(second.answer) == {"finding": "yes"}


def test_repeated_topics_are_numbered_and_repeated_questions_merged() -> None:
    (one,) = gathered(
        open_sample("1", "a", "Is it?", "yes", "x"),
        open_sample("2", "a", "Where?", "left", "x"),
        open_sample("3", "a", "Is it?", "no", "x"),
    )
    assert json.loads(one.answer) == {"x": "yes", "x_2": "left"}


def test_topics_with_one_normal_form_get_different_keys() -> None:
    (one,) = gathered(open_sample("1", "a", "Is it?", "yes", "x-ray"), open_sample("2", "a", "Where?", "left", "Xray"))
    assert json.loads(one.answer) == {"x_ray": "yes", "xray_2": "left"}
    assert reads_back(one)


def test_a_gold_answer_with_an_ambiguous_key_does_not_read_back() -> None:
    assert not reads_back(Sample("1", "Report.", '{"side": "left", "Side": "right"}', "json", "g", "t"))


def test_a_question_without_image_is_not_merged() -> None:
    texts = [replace(open_sample(str(number), "g", f"Is {number}?", "yes"), images=()) for number in range(3)]
    assert len(gathered(*texts)) == 3


texts = st.text().filter(lambda text: not control_token(text))


@given(st.dictionaries(texts.filter(str.strip), texts, min_size=2), st.integers(0, 99))
def test_the_gold_answer_has_the_keys_of_the_question(gold: dict[str, str], seed: int) -> None:
    sample = Sample("1", "Report what you see.", json.dumps(gold), "json", "g", "t")
    fewer = with_key_subset(sample, random.Random(seed))
    kept = json.loads(fewer.answer)
    assert kept
    assert kept.items() <= gold.items()
    assert (fewer.question == sample.question) == (len(kept) == len(gold))
    assert all(json.dumps(key, ensure_ascii=False) in fewer.question for key in kept) or len(kept) == len(gold)


def test_lines_of_other_keys_are_removed(vqa_rad: Path) -> None:
    samples = as_json_task(load("vqa-rad", str(vqa_rad))).samples
    draw = random.Random(0)
    for sample in samples:
        fewer = with_key_subset(sample, draw)
        kept = json.loads(fewer.answer)
        assert len(fewer.question.split("\n")) == 1 + len(kept)
        assert reads_back(fewer)


def test_other_answers_are_unchanged() -> None:
    for answer in ('["a", "b"]', '{"a": 1}', "3"):
        sample = Sample("1", "What?", answer, "json", "g", "t")
        assert with_key_subset(sample, random.Random(0)) is sample
    plain = open_sample("1", "a", "Is it?", "yes")
    assert with_key_subset(plain, random.Random(0)) is plain


def test_a_split_of_extractions_is_by_image(vqa_rad: Path) -> None:
    data = load("vqa-rad", str(vqa_rad))
    data_split = split_data(data, DataSpec(source="vqa-rad", task="extraction"), 0)
    assert {sample.kind for sample in data_split.train} == {"json"}
    held_out = {sample.images for sample in data_split.held_out["held-out"]}
    assert len(data_split.train) == len({sample.images for sample in data_split.train})
    assert not {sample.images for sample in data_split.train} & held_out


def test_keys_are_drawn_per_row_and_a_resumed_run_draws_the_same() -> None:
    gold = {str(number): number for number in range(6)}
    sample = Sample("1", "Report.", json.dumps(gold), "json", "g", "t")
    planned = training_data.schedule([sample], 30, 1, 0, sample_keys=True)
    assert len({row.sample.answer for row in planned}) > 5
    assert training_data.schedule([sample], 50, 1, 0, sample_keys=True)[:30] == planned
    assert {row.sample.answer for row in training_data.schedule([sample], 9, 1, 0)} == {sample.answer}
