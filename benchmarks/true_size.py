"""Write a model folder with the dimensions of a published model, and no weights, for a dry run of it.

    python benchmarks/true_size.py google/medgemma-4b-it ../medgemma
    lowmed plan --recipe rarl-sft --dry-run model.name=../medgemma model.weights=random

The tokenizer and the processor are those of the tests, whose ids are small: memory and time do not depend on them. The
dry run states the peak memory of each phase next to the plan.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from models import tiny  # of the tests

from lowmed import architectures

SECTIONS = [24, 20, 20]  # of M-RoPE in Qwen3-VL, for heads of 128


def write(name: str, folder: Path) -> None:
    """The folder of a model that ships its dimensions with lowmed."""
    values: dict[str, Any] = json.loads(architectures.SHIPPED.read_text(encoding="utf-8"))[
        architectures.tunes().get(name) or name
    ]
    tiny.save(values["model_type"], folder)
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for part in ("text_config", "vision_config"):
        config[part] |= values[part]
    config |= {key: value for key, value in values.items() if key not in ("text_config", "vision_config")}
    config["text_config"].pop("layer_types", None)
    if "mrope_section" in config["text_config"].get("rope_parameters", {}):
        config["text_config"]["rope_parameters"]["mrope_section"] = SECTIONS
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    sizes = architectures.from_config(config)
    if sizes.image_side:
        _resize_images(folder, sizes.image_side, sizes.image_tokens)


def _resize_images(folder: Path, side: int, tokens: int) -> None:
    """Set the size of all images, and the number of their tokens, in the settings of the processor."""
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    name = "max_image_size" if "max_image_size" in settings else "size"
    settings[name] = dict.fromkeys(settings[name], side)
    path.write_text(json.dumps(settings), encoding="utf-8")
    path = folder / "processor_config.json"
    processor = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(
        json.dumps({key: tokens if key.startswith("image_seq_len") else value for key, value in processor.items()}),
        encoding="utf-8",
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write(sys.argv[1], Path(sys.argv[2]))
