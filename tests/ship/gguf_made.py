"""nano as GGUF files, and copies of nano with changed settings or weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, Qwen2VLForConditionalGeneration

from lowmed import nano
from lowmed.ship.gguf.convert import write_gguf

Copy = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nano as GGUF files."""
    out = tmp_path_factory.mktemp("gguf")
    write_gguf(nano.folder(), out, ("f16", "q8_0"), name="nano")
    return out


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A copy of nano with changed settings: file -> dotted key -> value."""

    def make(changes: dict[str, dict[str, Any]] | None = None) -> Path:
        folder = tmp_path / "merged"
        shutil.copytree(nano.folder(), folder)
        for name, keys in (changes or {}).items():
            content = json.loads((folder / name).read_text())
            for key, value in keys.items():
                inner = content
                *parents, last = key.split(".")
                for step in parents:
                    inner = inner[step]
                inner[last] = value
            (folder / name).write_text(json.dumps(content))
        return folder

    return make


def other_shape(folder: Path, text: dict[str, Any], vision: dict[str, Any] | None = None, *, tied: bool = True) -> None:
    """Replace the folder's weights by random ones of another shape."""
    config = AutoConfig.from_pretrained(folder)
    config.tie_word_embeddings = tied
    for part, changes in ((config.text_config, text), (config.vision_config, vision or {})):
        for key, value in changes.items():
            setattr(part, key, value)
    config.text_config.layer_types = ["full_attention"] * config.text_config.num_hidden_layers
    torch.manual_seed(0)
    Qwen2VLForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
