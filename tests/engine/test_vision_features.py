"""Pooled features of images, for each family that reads images, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Lowmed
from models import tiny

from lowmed.engine import device, load
from lowmed.engine.vision.features import pooled_features
from lowmed.errors import SetupError
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec

IMAGES = [phantom.open_image(sample.images[0]) for sample in phantom.samples("train", 2)]


def loaded(name: str) -> load.Loaded:
    spec = ModelSpec(name=name, load_in="16bit")
    return load.load_base(spec, device.find_device(spec))


def test_the_features_are_the_means_of_the_quarters_of_the_token_grid() -> None:
    nano = loaded("nano")
    wide = IMAGES[0].resize((224, 112))  # 4 rows and 8 columns of tokens
    [pooled] = pooled_features(nano, [wide])
    inputs = nano.processor.image_processor(images=[wide], return_tensors="pt")
    with torch.no_grad():
        tokens = torch.cat(nano.model.get_image_features(**inputs).pooler_output).float().numpy().reshape(4, 8, -1)
    quarters = [
        tokens[rows, columns].mean((0, 1)) for rows in (slice(2), slice(2, 4)) for columns in (slice(4), slice(4, 8))
    ]
    assert np.allclose(pooled.reshape(-1, 4).T, quarters, atol=1e-5)


@pytest.mark.parametrize("family", ["qwen3_vl", "gemma3", "internvl", "smolvlm"])
def test_each_family_gives_four_vectors_an_image_that_differ_between_images(family: str, tmp_path: Path) -> None:
    model = loaded(str(tiny.save(family, tmp_path / family)))
    if family == "gemma3":  # its projector starts with zeros
        model.model.model.multi_modal_projector.mm_input_projection_weight.data.normal_()
    first, second = pooled_features(model, IMAGES)
    width = model.model.config.get_text_config().hidden_size
    assert first.shape == second.shape == (4 * width,)
    assert np.isfinite(first).all() and not np.allclose(first, second)


def test_a_text_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="reads no images"):
        list(pooled_features(loaded(str(tiny.save("llama", tmp_path / "text"))), IMAGES))


def test_the_command_probes_nano_and_stores_what_it_prints(tmp_path: Path, lowmed: Lowmed) -> None:
    command = ["probe", "nano", "--on", "phantom", "--vision", "--questions", "300", "--out", "probe"]
    result = lowmed(*command)
    assert result.returncode == 0, result.stderr
    assert "seen" in result.stdout and "features, linear" in result.stdout
    stored = json.loads((tmp_path / "probe" / "vision.json").read_text())
    assert stored["questions"] == 300 and stored["targets"]
    modality = next(one for one in stored["targets"] if "modality" in one["question"])
    assert modality["linear"]["value"] > 0.9
    assert "modality" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vision", "--samples", "4"], "--samples belongs to sampled completions"),
        (["--vision", "--questions", "5"], "no question recurs with two answers"),
    ],
)
def test_bad_input_of_a_vision_probe_is_refused(
    arguments: list[str], message: str, lowmed: Lowmed, tmp_path: Path
) -> None:
    result = lowmed("probe", "nano", "--on", "phantom", *arguments, "--out", "probe")
    assert result.returncode == 2
    assert message in result.stderr and "\n  fix    " in result.stderr
    assert not (tmp_path / "probe").exists()
