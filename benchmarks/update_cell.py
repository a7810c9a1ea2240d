"""Recipe, questions, images and model of a cell of benchmarks/update.py."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from lowmed import nano
from lowmed.data.pairs import Pair
from lowmed.data.split import DataSplit
from lowmed.recipe import Recipe
from lowmed.recipe.io import load_recipe
from lowmed.sample import Sample

QUESTIONS_PER_IMAGE = 2
RECIPES = {"grpo": "rarl", "sft": "rarl-sft", "dpo": "dpo"}
CAP_GIB = 40  # of GPU memory, even if there is more
# About 64 million parameters, with the depth and width of Qwen2-VL-2B's tower and language model in proportion.
MID_TEXT = {"hidden_size": 384, "intermediate_size": 2240, "num_hidden_layers": 14, "num_attention_heads": 12,
            "num_key_value_heads": 2}  # fmt: skip
MID_VISION = {"depth": 16, "embed_dim": 320, "hidden_size": 384, "num_heads": 16, "mlp_ratio": 4}

# About 60 tokens each.
_THOUGHT = "The image shows a structure with a clear border, and the density of this structure is lower than around it."
PAIR = Pair(*(f"<think>{_THOUGHT} {end}</think><answer>{end}</answer>" for end in ("yes", "no")))

Cell = dict[str, Any]


def recipe_of(cell: Cell, side: str, folder: Path) -> Recipe:
    """The recipe of a cell: a shipped one with the changes that a fair comparison needs."""
    grpo = cell["task"] == "grpo"
    settings = [
        f"model.load_in={cell['load_in']}", f"model.max_image_tokens={max(cell['tokens'], 4)}",
        f"model.backend={'unsloth' if side == 'unsloth' else 'transformers'}",
        f"method.max_steps={cell['updates']}", f"method.prompts_per_step={cell['questions']}",
        f"method.save_steps={cell['updates']}", f"seed={cell['seed']}",
        "method.lr_scheduler_type=constant", "method.warmup_ratio=0", "data.split_by=official", "data.source=phantom",
    ]  # fmt: skip
    if cell["model"] != "nano":
        settings += [f"model.name={_mid(folder) if cell['model'] == 'mid' else cell['model']}"]
        if not has_weights(cell["model"]):
            settings += ["model.weights=random"]
    if grpo:
        # Random weights earn no reward: without zero-variance groups and truncated completions no row would be left.
        settings += [
            f"method.num_generations={cell['group']}", f"method.max_completion_length={cell['new_tokens']}",
            "method.skip_zero_variance_groups=false", "method.mask_truncated_completions=false",
            "method.canary_steps=null",
        ]  # fmt: skip
    if cell["task"] == "dpo":
        settings += ["lora={rank: 8, alpha: 16}"]
    recipe = load_recipe(RECIPES[cell["task"]], settings, nano=cell["model"] == "nano")
    rows = recipe.method.rows_per_step
    forward = max(size for size in range(1, 9) if rows % size == 0)  # TRL's default is 8
    return recipe.model_copy(
        update={"method": recipe.method.model_copy(update={"per_device_train_batch_size": forward})}
    )


def has_weights(folder: str) -> bool:
    """Whether a model folder has weights; otherwise they are drawn at random."""
    return any(Path(folder).glob("*.safetensors"))


def data_of(cell: Cell) -> DataSplit:
    """Questions about images of noise, with exactly the cell's number of image tokens."""
    side = 28 * round(cell["tokens"] ** 0.5)

    def open_image(name: str) -> Image.Image:
        noise = numpy.random.default_rng(int(name))
        return Image.fromarray(noise.integers(0, 255, (side, side, 3), dtype=numpy.uint8))

    count = cell["questions"] * (cell["updates"] if cell["task"] == "grpo" else cell["updates"] // 2)
    per_image = 1 if cell["task"] == "grpo" else QUESTIONS_PER_IMAGE
    samples = tuple(
        Sample(
            str(row),
            f"Is finding {row} seen?",
            "yes",
            "closed",
            str(row // per_image),
            "noise",
            (str(row // per_image),),
            explanation="The answer to the question is yes.",  # SFT trains on no sample without one
        )
        for row in range(count)
    )
    pairs = {sample.id: (PAIR,) for sample in samples}
    return DataSplit("noise", samples, {}, {}, {}, open_image, "noise", pairs=pairs)


def _mid(folder: Path) -> Path:
    """A folder with the tokenizer and processor of nano and the config of a larger model."""
    target = folder / "mid"
    target.mkdir()
    for file in nano.folder().iterdir():
        if file.name not in ("model.safetensors", "config.json"):
            (target / file.name).write_bytes(file.read_bytes())
    config = json.loads((nano.folder() / "config.json").read_text())
    config["text_config"] |= MID_TEXT | {"layer_types": ["full_attention"] * MID_TEXT["num_hidden_layers"]}
    config["vision_config"] |= MID_VISION
    (target / "config.json").write_text(json.dumps(config))
    return target


def write_weights(model: str, folder: str) -> None:
    """Write the model of a config folder with random weights, because unsloth can load written weights only."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):  # drawing them takes a minute on a CPU
        random_model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16, trust_remote_code=False)
    random_model.save_pretrained(folder, max_shard_size="2GB")  # several files with an index
    AutoProcessor.from_pretrained(model, trust_remote_code=False).save_pretrained(folder)


if __name__ == "__main__":
    write_weights(*sys.argv[1:])
