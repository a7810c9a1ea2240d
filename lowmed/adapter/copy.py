"""An adapter as PEFT loads it today: its layers listed by name, under the names of the installed transformers."""

import json
import re
import shutil
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowmed.adapter.config import CONFIG_FILE
from lowmed.adapter.extra import WEIGHTS_FILE
from lowmed.adapter.intake import Adapter
from lowmed.adapter.tensor_file import read_header
from lowmed.files import disk_errors, write_json
from lowmed.models import FAMILIES


def write_plain_copy(adapter: Adapter, folder: Path) -> None:
    """Write the adapter without expressions and old names. Values of the weights are copied byte by byte.

    PEFT matches expressions without a time limit, subtracts the first factors of some initializations from the base,
    and ignores layers whose names it does not find. None of this can happen with the copy.

    Args:
        adapter: the adapter.
        folder: an existing folder.

    Raises:
        SetupError: the disk does not allow it.
    """
    write_json(folder / CONFIG_FILE, plain_config(adapter))
    with disk_errors(folder):
        _write_weights(adapter, folder / WEIGHTS_FILE)


def plain_config(adapter: Adapter) -> dict[str, Any]:
    """The config of the copy: the same adapter, in the fields that decide what it does."""
    layers, config = adapter.layers, adapter.config
    rank = Counter(layer.rank for layer in layers.values()).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in layers.values()).most_common(1)[0][0]
    own = next(
        (family.lora_pattern for family in FAMILIES.values() if family.lora_pattern == config.target_modules), None
    )
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": config.base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": _pattern({name: layer.rank for name, layer in layers.items() if layer.rank != rank}),
        "alpha_pattern": _pattern({name: layer.alpha for name, layer in layers.items() if layer.alpha != alpha}),
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "target_modules": config.target_modules if own and not adapter.renamed else sorted(layers),
        "lora_dropout": 0.0,
        "bias": "none",
        "init_lora_weights": True,
    }


def _pattern(values: Mapping[str, float]) -> dict[str, float]:
    return {f"^{re.escape(name)}": value for name, value in sorted(values.items())}


def _write_weights(adapter: Adapter, file: Path) -> None:
    names = {}
    for layer in adapter.layers.values():
        for part, key in layer.keys.items():
            leaf = "" if part == "lora_magnitude_vector" else ".weight"  # as PEFT writes it
            names[key] = f"base_model.model.{layer.module}.{part}{leaf}"
    header, start = read_header(adapter.file)
    content = json.dumps({"__metadata__": {"format": "pt"}} | {names[key]: value for key, value in header.items()})
    encoded = content.encode()
    encoded += b" " * (-len(encoded) % 8)  # the format aligns the data to eight bytes
    with adapter.file.open("rb") as source, file.open("wb") as out:
        out.write(struct.pack("<Q", len(encoded)) + encoded)
        source.seek(start)
        shutil.copyfileobj(source, out, 2**20)
