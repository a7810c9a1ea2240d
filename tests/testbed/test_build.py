"""Base models of the testbed: what they are trained on, and that a short training gives a model that loads."""

import dataclasses
import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowmed import prompt
from lowmed.nano import model
from lowmed.testbed import build as bases
from lowmed.testbed import samples as testbed
from lowmed.testbed import teach
from lowmed.testbed.build import BASES, Base, build
from lowmed.testbed.questions import TOPICS
from lowmed.testbed.scene import QUADRANTS
from lowmed.testbed.tower import IGNORED, OF_IMAGE, OF_QUADRANT, labels


def test_phases_and_tower_use_seeds_of_their_own() -> None:
    for base in BASES.values():
        seeds = [phase.seed for phase in base.phases]
        assert len({1, *seeds}) == len(seeds) + 1  # 1 is that of the tower


def test_a_folder_that_cannot_be_written_is_refused_before_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SystemExit) as caught:
        bases.main(["weak", "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "cannot be a folder" in capsys.readouterr().err


def test_labels_are_the_attributes_of_the_caption() -> None:
    for sample in testbed.samples("pretrain", 100):
        scene = testbed.item_of(sample.id).scene
        classes = labels(scene)
        assert len(classes) == 4 * len(OF_QUADRANT) + len(OF_IMAGE)
        assert [IGNORED in classes[start : start + 5] for start in range(0, 20, 5)] == [
            quadrant not in teach.caption(scene) for quadrant in QUADRANTS
        ]


def test_a_caption_names_each_finding_with_all_attributes() -> None:
    for sample in testbed.samples("pretrain", 100):
        scene = testbed.item_of(sample.id).scene
        text = teach.caption(scene)
        assert text.startswith(f"{scene.modality}: ")
        assert text.count(" mm") == len(scene.findings)


def test_the_base_without_steps_never_sees_a_question_of_several_steps() -> None:
    phase = next(phase for phase in BASES["steps"].phases if phase.name == "questions")
    topics = {sample.topic for sample in islice(teach._samples(phase), 500)}
    assert topics == {name for name, topic in TOPICS.items() if topic.steps == 1}


def test_a_habit_changes_answers_and_keeps_the_reasoning() -> None:
    phase = dataclasses.replace(BASES["habit"].phases[-1], habit_share=1.0)
    generator = np.random.Generator(np.random.PCG64(0))
    for sample in testbed.samples("pretrain", 200):
        _, completion = teach.chat(sample, phase, generator)
        habit = TOPICS[sample.topic].answers[0]
        written = re.search(r"<answer>\s*(.*?)\s*</answer>$", completion)
        assert written is not None
        assert written[1] == dataclasses.replace(sample, answer=habit).written_answer
        assert "<think>" not in completion or sample.explanation in completion


def test_every_prompt_family_of_training_exists() -> None:
    assert abs(sum(teach.FAMILIES.values()) - 1) < 1e-9
    assert all(prompt.family(name).name == name for name in teach.FAMILIES)


@pytest.mark.slow
def test_a_short_training_gives_a_model_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration

    monkeypatch.setattr(bases, "TOWER_IMAGES", 16)
    monkeypatch.setattr(bases, "TOKENIZER_SAMPLES", 300)
    monkeypatch.setattr(teach, "LETTER_POOL", 100)
    phases = tuple(dataclasses.replace(phase, steps=2, rows=4) for phase in BASES["habit"].phases)
    lines: list[str] = []
    trained, processor, seen = build(Base(50, phases), lines.append)
    assert seen["modality"] > 0.9  # the classifiers learn the easiest attribute within fifty steps
    assert [line.split()[0] for line in lines] == ["tower", "captions", "questions", "habit"]
    model.save(trained, processor, tmp_path)
    loaded: Any = Qwen2VLForConditionalGeneration.from_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    image = testbed.open_image("testbed/test/0/0")
    messages = prompt.build_messages(prompt.family("reasoning"), testbed.sample_of("testbed/test/0/0"))
    text = again.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = again(text=text, images=[image], return_tensors="pt")
    assert int((inputs["input_ids"] == loaded.config.image_token_id).sum()) == 16
    assert loaded.generate(**inputs, max_new_tokens=2).shape[1] > inputs["input_ids"].shape[1]


def test_model_inputs_are_those_of_the_processor() -> None:
    import torch

    processor = model.new_processor(["a text"] * 100)
    samples = testbed.samples("pretrain", 12)
    chats = [teach.caption_chat(sample) for sample in samples]
    references = [sample.images[-1] for sample in samples]
    inputs = teach._chats(processor, chats, references)
    texts = processor.apply_chat_template(
        [messages for messages, _ in chats], tokenize=False, add_generation_prompt=True
    )
    completions = [completion + processor.tokenizer.eos_token for _, completion in chats]
    complete = [start + completion for start, completion in zip(texts, completions, strict=True)]
    images = [testbed.open_image(reference) for reference in references]
    expected = processor(text=complete, images=images, padding=True, return_tensors="pt")
    assert set(inputs) == {*expected, "labels"}
    for name, values in expected.items():
        assert torch.allclose(inputs[name].float(), values.float(), atol=1e-5), name
