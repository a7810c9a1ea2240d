"""How vLLM serves a merged folder, or the adapter on its base: the exact commands, and what vLLM cannot serve."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from lowmed.data.image.policy import PixelPolicy
from lowmed.errors import RunError
from lowmed.files import disk_errors, write_text
from lowmed.recipe import Recipe
from lowmed.ship.adapter import Adapter

# vLLM's `--max-lora-rank` is one of these (vllm.config.lora.MaxLoRARanks, 0.14 to 0.26).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
QUESTION_TOKENS = 1024  # room for the wording and the question
SERVE, SERVE_ADAPTER, ADAPTER = "serve.sh", "serve-adapter.sh", "adapter"
_HEAD = '#!/bin/sh\n# {what}\n# Only this machine can reach it; {then}\ncd "$(dirname "$0")" || exit 1\n'
_THEN = "ask it with: lowmed eval --endpoint http://127.0.0.1:8000/v1 --model {name} --on SOURCE"


def check(adapter: Adapter) -> None:
    """Refuse what vLLM cannot serve.

    It puts adapters on the language model alone and only warns of the rest, so that the answers would silently be
    those of a model that was never measured.

    Raises:
        RunError: the adapter changes the vision tower, or its rank is beyond vLLM's.
    """
    if adapter.vision:
        raise RunError(
            f"vLLM leaves an adapter on the vision tower out without an error ({len(adapter.vision)} layers)",
            str(adapter.folder),
            "serve the merged model: lowmed export RUN --to merged",
        )
    if adapter.config["r"] > RANKS[-1]:
        raise RunError(
            f"vLLM serves adapters up to rank {RANKS[-1]}, this one has {adapter.config['r']}",
            str(adapter.folder),
            "serve the merged model: lowmed export RUN --to merged",
        )


def command(model: str, name: str, recipe: Recipe, *, images: int, lora: Adapter | None, half: bool) -> str:
    """The command that serves a model as it was trained: same pixels, same number of images, room for its completions.

    Args:
        model: folder or hub id, as the shell reads it.
        name: what clients call the model.
        recipe: recipe of the run.
        images: most images of one question.
        lora: the adapter beside it in `adapter/`, or None for a merged model.
        half: serve in fp16, as on cards without bf16.
    """
    policy = PixelPolicy(recipe.model.max_image_tokens)
    tokens = policy.max_image_tokens * images + QUESTION_TOKENS + recipe.eval.max_new_tokens
    pixels = json.dumps({"min_pixels": policy.min_pixels, "max_pixels": policy.max_pixels})
    limits = json.dumps({"image": images, "video": 0})
    parts = [
        f"vllm serve {model}",
        "--host 127.0.0.1 --port 8000",
        f"--dtype {'half' if half else 'bfloat16'}",
        f"--max-model-len {tokens}",
        f"--limit-mm-per-prompt {shlex.quote(limits)}",
        f"--mm-processor-kwargs {shlex.quote(pixels)}",
    ]
    if lora:
        rank = next(rank for rank in RANKS if rank >= lora.config["r"])
        parts += ["--enable-lora", f"--max-lora-rank {rank}", f"--lora-modules {shlex.quote(name)}=./{ADAPTER}"]
    else:
        parts.append(f"--served-model-name {shlex.quote(name)}")
    return " \\\n  ".join(parts)


def write(out: Path, run: Any, adapter: Adapter, *, images: int) -> None:
    """Put both commands, and the adapter, into a merged folder.

    Raises:
        RunError: as `check`.
        SetupError: the disk does not allow it.
    """
    check(adapter)
    recipe, name = run.recipe, run.record.name
    half = run.record.precision == "fp16"
    then = _THEN.format(name=name)
    base = '"${BASE:?the folder of the base}"' if recipe.model.name == "nano" else shlex.quote(recipe.model.name)
    base += f" --revision {shlex.quote(recipe.model.revision)}" if recipe.model.revision else ""
    merged = command(".", name, recipe, images=images, lora=None, half=half)
    beside = command(base, name, recipe, images=images, lora=adapter, half=half)
    with disk_errors(out):
        shutil.copytree(adapter.folder, out / ADAPTER, dirs_exist_ok=True)
    write_text(out / SERVE, _HEAD.format(what="The merged model.", then=then) + merged + "\n")
    what = "The adapter on its 16-bit base. First see that it answers otherwise than the base does."
    write_text(out / SERVE_ADAPTER, _HEAD.format(what=what, then=then) + beside + "\n")
    for file in (SERVE, SERVE_ADAPTER):
        (out / file).chmod(0o755)
