"""The choices of `auto` settings that were measured on a GPU.

`make gpu-tables` writes the table from the stored measurements of benchmarks/gpu_first.sh.
"""

import json
from pathlib import Path
from typing import Literal

Setting = Literal["backend", "rollout", "load_in"]
TABLE = Path(__file__).with_name("faster.json")  # name of a GPU as torch reports it -> setting -> the value


def measured_faster(setting: Setting, card: str) -> str | None:
    """The value of a setting that was measured faster on a GPU; None if it was not measured there.

    A value other than the default is in the table only if it was at least 5 % faster in every measured cell, or if CUDA
    graphs, the default of `rollout`, made other tokens.

    Args:
        setting: a key of `model` in a recipe.
        card: name of the GPU as torch reports it.
    """
    table: dict[str, dict[str, str]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table.get(card, {}).get(setting)
