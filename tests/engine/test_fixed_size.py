"""Families whose processor resizes every image to one size: one piece for each image, one start token."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from models import tiny
from PIL import Image

from lowmed import architectures, prompt
from lowmed.engine import device, generate, load
from lowmed.engine.processor import count_image_tokens
from lowmed.errors import SetupError
from lowmed.models import FAMILIES
from lowmed.recipe import ModelSpec
from lowmed.sample import Sample

CPU = device.Device("cpu", "CPU", 0.0, "fp32")
FAMILY = prompt.FAMILIES["reasoning"]
SAMPLE = Sample(id="q", question="Is it grey?", answer="yes", kind="closed", images=("wide",), group="g", source="s")


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.fixed_size])
def test_a_model_with_one_image_size_reads_each_image_in_one_piece(name: str, tmp_path: Path) -> None:
    loaded = load.load_base(ModelSpec(name=str(tiny.save(name, tmp_path)), load_in="16bit"), CPU)
    samples = [replace(SAMPLE, images=images) for images in (("wide", "wide"), ("wide",), ())]
    inputs = generate.encode(loaded, samples, FAMILY, lambda _: Image.new("RGB", (3000, 200), (90, 80, 7)))
    per_row = [count_image_tokens(loaded.processor, loaded.family, [row]) for row in inputs["input_ids"].tolist()]
    assert per_row == [8, 4, 0]


def test_the_start_token_of_gemma_is_written_once_everywhere(tmp_path: Path) -> None:
    from trl import GRPOTrainer

    loaded = load.load_base(ModelSpec(name=str(tiny.save("gemma3", tmp_path)), load_in="16bit"), CPU)
    image = Image.new("RGB", (60, 60))
    start = loaded.tokenizer.bos_token_id
    encoded = generate.encode(loaded, [SAMPLE], FAMILY, lambda _: image)["input_ids"].tolist()
    trainer = SimpleNamespace(
        processing_class=loaded.processor, chat_template=None, chat_template_kwargs={}, tools=None, _is_vlm=True,
        environment_factories=None,
    )  # fmt: skip
    chat = prompt.build_messages(FAMILY, SAMPLE, 0)
    for message in chat:
        for part in message["content"]:
            if part["type"] == "image":
                part["image"] = image
    ids, _images, fields = GRPOTrainer._tokenize_prompts(trainer, [chat])
    assert ids == encoded
    assert ids[0].count(start) == 1
    # TRL calls the processor once more for the loss, and takes only the image inputs from that call.
    again = loaded.processor(
        text=[loaded.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)], images=[[image]]
    )
    assert again["input_ids"] == ids
    assert fields["token_type_ids"] == again["token_type_ids"]


def test_a_missing_package_of_a_processor_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.save("smolvlm", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(SetupError, match="needs the package num2words"):
        load.load_base(ModelSpec(name=str(folder), backend="transformers"), CPU)
    with pytest.raises(SetupError, match="needs the package num2words"):
        architectures.require_known_family(ModelSpec(name=str(folder)))
