"""Export target `vllm`: a merged folder with the commands that serve it, or the adapter on its base, with vLLM."""

import json
import shlex
import shutil
from pathlib import Path

from lowmed.adapter.copy import write_plain_copy
from lowmed.adapter.intake import Adapter
from lowmed.architectures import known_family
from lowmed.data.image.policy import pixel_policy
from lowmed.errors import RunError
from lowmed.files import disk_errors, write_text
from lowmed.recipe import Recipe
from lowmed.run import Run
from lowmed.ship.base_model import base_family
from lowmed.ship.export import ExportRequest, export_report
from lowmed.ship.merge_job import run_merge
from lowmed.ship.records import ExportReport

# vLLM's `--max-lora-rank` is one of these (vllm.config.lora.MaxLoRARanks, 0.14 to 0.26).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
QUESTION_TOKENS = 1024  # budget for the prompt's wording and the question
SERVE, SERVE_ADAPTER, ADAPTER = "serve.sh", "serve-adapter.sh", "adapter"
_HEADER = (
    '#!/bin/sh\n# {title}\n# The server is reachable from this machine only. {usage}\ncd "$(dirname "$0")" || exit 1\n'
)
_USAGE = "Evaluate it: lowmed eval --endpoint http://127.0.0.1:8000/v1 --model {name} --on SOURCE"


def export_vllm(request: ExportRequest) -> ExportReport:
    """Write the merged folder, the adapter, and a serve command for each.

    Raises:
        LowmedError: vLLM cannot serve the adapter, or the merge is not possible.
    """
    job = request.plan_merge(request.new_folder())
    adapter = job.inputs.adapter
    require_servable(adapter)
    samples = job.questions.samples if job.questions else ()
    text_only = base_family(job.inputs.folder).text_only
    images = 0 if text_only else max([1, *(len(sample.images) for sample in samples)])
    with request.progress("merge", job.shards) as advance:
        report = run_merge(job, advance, lambda out: write_serve_scripts(out, job.run, adapter, images=images))
    folder = Path(report.out or job.out)
    instructions = "\n\n".join(_instruction(folder / name) for name in (SERVE, SERVE_ADAPTER)) if report.passed else ""
    return export_report(request.target, report, instructions=instructions)


def require_servable(adapter: Adapter) -> None:
    """Refuse an adapter that vLLM cannot serve.

    vLLM applies adapters to the language model only and drops other layers with a warning. Its answers would then be
    those of a model that was never evaluated.

    Raises:
        RunError: the adapter changes the vision tower, is a DoRA, or has ranks that vLLM does not serve.
    """
    fix = "serve the merged model: lowmed export RUN --to merged"
    if adapter.vision_layers:
        count = len(adapter.vision_layers)
        problem = f"vLLM silently ignores an adapter's layers on the vision tower ({count} layers)"
    elif adapter.config.use_dora:
        problem = "vLLM does not serve DoRA adapters"
    elif len({(layer.rank, layer.alpha) for layer in adapter.layers.values()}) > 1:
        problem = "vLLM scales all layers alike, and this adapter's have ranks or alphas of their own"
    elif adapter.ranks[-1] > RANKS[-1]:
        problem = f"vLLM serves adapters up to rank {RANKS[-1]}, this one has rank {adapter.ranks[-1]}"
    else:
        return
    raise RunError(problem, str(adapter.folder), fix)


def serve_command(model: str, name: str, recipe: Recipe, *, images: int, adapter: Adapter | None, half: bool) -> str:
    """The command that serves a model with the pixel limits of training and enough context for its completions.

    Args:
        model: folder or hub id, quoted for the shell.
        name: model name for clients.
        recipe: recipe of the run.
        images: maximum number of images of one question; 0 for a text-only model.
        adapter: the adapter in `adapter/`, or None for a merged model.
        half: serve in fp16, for GPUs without bf16.
    """
    policy = pixel_policy(recipe.model)
    tokens = policy.most_tokens * images + QUESTION_TOKENS + recipe.eval.max_new_tokens
    family = known_family(recipe.model)
    settings = family.image_settings if family else {}
    pixels = json.dumps(settings or {"min_pixels": policy.min_pixels, "max_pixels": policy.max_pixels})
    limits = json.dumps({"image": images, "video": 0})
    parts = [
        f"vllm serve {model}",
        "--host 127.0.0.1 --port 8000",
        f"--dtype {'half' if half else 'bfloat16'}",
        f"--max-model-len {tokens}",
        "--generation-config vllm",  # not the base's, whose top_k 1 would make all sampled completions equal
    ]
    if images:
        parts += [f"--limit-mm-per-prompt {shlex.quote(limits)}", f"--mm-processor-kwargs {shlex.quote(pixels)}"]
    if adapter:
        rank = next(rank for rank in RANKS if rank >= adapter.ranks[-1])
        parts += ["--enable-lora", f"--max-lora-rank {rank}", f"--lora-modules {shlex.quote(name)}=./{ADAPTER}"]
    else:
        parts.append(f"--served-model-name {shlex.quote(name)}")
    return " \\\n  ".join(parts)


def write_serve_scripts(out: Path, run: Run, adapter: Adapter, *, images: int) -> None:
    """Add both serve scripts and the adapter to a merged folder.

    Args:
        out: the merged folder.
        run: the run it comes from.
        adapter: its adapter.
        images: maximum number of images of one question.

    Raises:
        RunError: as `require_servable`.
        SetupError: the disk does not allow it.
    """
    require_servable(adapter)
    recipe, record = run.recipe, run.record
    name, half = record.name, record.precision == "fp16"
    usage = _USAGE.format(name=name)
    base = '"${BASE:?the folder of the base}"' if recipe.model.name == "nano" else shlex.quote(recipe.model.name)
    base += f" --revision {shlex.quote(recipe.model.revision)}" if recipe.model.revision else ""
    merged_command = serve_command(".", name, recipe, images=images, adapter=None, half=half)
    adapter_command = serve_command(base, name, recipe, images=images, adapter=adapter, half=half)
    with disk_errors(out):
        shutil.copytree(adapter.folder, out / ADAPTER, dirs_exist_ok=True)
    write_plain_copy(adapter, out / ADAPTER)  # vLLM also ignores layers whose names it does not know
    write_text(out / SERVE, _HEADER.format(title="The merged model.", usage=usage) + merged_command + "\n")
    title = "The adapter on its 16-bit base. First check that its answers differ from the base's."
    write_text(out / SERVE_ADAPTER, _HEADER.format(title=title, usage=usage) + adapter_command + "\n")
    for file in (SERVE, SERVE_ADAPTER):
        (out / file).chmod(0o755)


def _instruction(script: Path) -> str:
    command = script.read_text(encoding="utf-8").partition("exit 1")[2].strip()
    return f"# {script}\n{command}"
