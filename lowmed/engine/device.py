"""The device of a run, and its capabilities. These checks import and download nothing heavy."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowmed import processes, rewards
from lowmed.architectures import known_family, reads_text_only
from lowmed.engine import gpu_support, patches
from lowmed.engine.shard_support import divides, shard_error
from lowmed.errors import LowmedError, RecipeError, SetupError
from lowmed.plan.faster import measured_faster
from lowmed.recipe import ModelSpec, Recipe

Precision = Literal["bf16", "fp16", "fp32"]
SMALL_BYTES = 2**30  # of weights: half a billion of them in 16 bit run on a CPU, slowly


@dataclass(frozen=True)
class Device:
    """The device that a run uses.

    Attributes:
        type: as in `torch.device.type`.
        card: name of the GPU, or "CPU".
        memory_gib: memory of the GPU; 0 for a CPU.
        precision: precision of the forward and backward passes.
    """

    type: Literal["cuda", "cpu"]
    card: str
    memory_gib: float
    precision: Precision


def find_device(model: ModelSpec) -> Device:
    """The GPU, or the CPU if the model is small enough for it.

    Raises:
        SetupError: the model needs a CUDA GPU or bf16 and there is none, or torch cannot use the GPU.
    """
    silence_libraries()
    processes.use_one_gpu()
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)  # it builds a plan for every new shape
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        capability = torch.cuda.get_device_capability(0)
        if error := gpu_support.kernels_error(gpu.name, capability, torch.cuda.get_arch_list(), torch.__version__):
            raise error
        bf16 = capability >= (8, 0)  # older GPUs emulate bf16, slowly
        family = known_family(model)
        if not bf16 and family and not family.fp16:
            raise SetupError(
                f"{family.title} overflows in fp16, and {gpu.name} has no bf16",
                "model.name",
                "use a GPU from Ampere on (RTX 30, A10, L4, A100), or a model of another family",
            )
        return Device("cuda", gpu.name, gpu.total_memory / 2**30, "bf16" if bf16 else "fp16")
    patches.interpret_triton()
    if model.name == "nano" or _is_small(Path(model.name)):
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)  # the operations of so small a model end before other threads wake up
        return Device("cpu", "CPU", 0.0, "fp32")
    if model.weights == "random":
        return Device("cpu", "CPU", 0.0, "fp32")
    if processes.driver_present():
        raise SetupError(
            f"torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use the installed NVIDIA driver",
            "torch.cuda.is_available() is False although a driver is installed",
            f"update the driver, or {gpu_support.OTHER_BUILD}; `lowmed doctor` shows both versions",
        )
    is_folder = Path(model.name).is_dir()
    raise SetupError(
        f"{model.name} needs a CUDA GPU, and none was found",
        "model.name" if is_folder else "model.name; no folder here has this name, so it is taken as a hub id",
        "run on a machine with a GPU, or try all steps here with --nano",
    )


def _is_small(folder: Path) -> bool:
    """Whether a local model folder, for example a merged nano, is small enough for a CPU."""
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")]
    return 0 < sum(sizes) < SMALL_BYTES


def choose_rollout(model: ModelSpec, device: Device, backend: str = "transformers") -> tuple[str, str]:
    """How completions are sampled, `transformers` or `cuda_graphs`, and the reason.

    Args:
        model: its `rollout` decides unless it is `auto`.
        device: the device of the run.
        backend: the chosen backend.
    """
    if device.type == "cpu":
        return "transformers", "CUDA graphs need a GPU"
    if backend == "unsloth":
        return "transformers", "unsloth samples with its own code"
    if divides(model):
        return "transformers", "the layers of a divided model are gathered one by one"
    if model.rollout != "auto":
        return model.rollout, "set in the recipe"
    family = known_family(model)
    if family and not family.shared_prefix:
        return "transformers", f"{family.title} samples with transformers' own code"
    if measured := measured_faster("rollout", device.card):
        return measured, f"measured on {device.card}"
    return "cuda_graphs", "starting kernels one by one takes longer than they do"


def unsupported_error(recipe: Recipe, count: int | None = None) -> LowmedError | None:
    """The error for a combination of settings that does not work, or None; checked before anything is loaded.

    Args:
        recipe: the recipe.
        count: number of processes of the run; None for that of this command.

    vLLM on the GPU of the training fails in both cases that lowmed has. It runs in TRL's colocate mode, which passes
    prompts whose image tokens vLLM expands again (https://github.com/huggingface/trl/issues/6294). With a 4-bit base
    TRL passes packed weights. A server gets messages, images and the adapter instead (`vllm_server.py`).
    """
    count = processes.size() if count is None else count
    if error := shard_error(recipe, count) or _processes_error(recipe, count) or _server_error(recipe):
        return error
    model, where, fix = recipe.model, "model.rollout", "use model.rollout=auto, which reads each prompt once"
    four_bit = model.load_in == "4bit"
    if model.rollout == "vllm" and four_bit:
        what = "vllm cannot sample from a 4-bit base in training: TRL sends packed weights, which vllm rejects"
    elif model.rollout == "vllm":
        what = "vllm samples wrong completions: TRL's colocate mode sends prompts whose images are expanded again"
    elif model.rollout == "cuda_graphs" and model.backend == "unsloth":
        what, fix = "unsloth samples with its own code, which is no CUDA graph", "use model.rollout=auto"
    elif model.rollout_dtype == "16bit" and model.backend == "unsloth":
        what, where = "unsloth samples with the 4-bit weights", "model.rollout_dtype"
        fix = "use model.rollout_dtype=auto"
    elif model.backend == "unsloth":
        return _unsloth_error(recipe)
    else:
        return _own_trainer_error(recipe)
    return RecipeError(what, where, fix)


def _processes_error(recipe: Recipe, size: int) -> LowmedError | None:
    """The error if several processes cannot share the work of this recipe, or None."""
    rows, family = recipe.method.rows_per_step, known_family(recipe.model)
    if size == 1:
        return None
    if recipe.model.backend == "unsloth":
        return RecipeError("unsloth runs in a single process", "model.backend", "use model.backend=transformers")
    if recipe.method.completions_per_prompt and family and not family.shared_prefix:
        return RecipeError(
            f"GRPO in several processes needs lowmed's forward pass, which does not run {family.title}",
            "model.name and --processes",
            "use a single process, or a model of another family",
        )
    if rows % size:
        possible = ", ".join(str(number) for number in range(1, rows + 1) if rows % number == 0)
        return RecipeError(
            f"{size} processes cannot share the {rows} rows of a step equally",
            "--processes and method.prompts_per_step",
            f"use one of {possible} processes, or another number of prompts",
        )
    return None


def _server_error(recipe: Recipe) -> LowmedError | None:
    """The error if completions cannot be sampled by the vLLM server of the recipe, or None."""
    model, family = recipe.model, known_family(recipe.model)
    if (model.rollout == "vllm-server") != bool(model.rollout_url):
        what, fix = "model.rollout=vllm-server and model.rollout_url belong together", "set both or neither"
        return RecipeError(what, "model.rollout and model.rollout_url", f"{fix}, e.g. http://127.0.0.1:8000/v1")
    if not model.rollout_url or not recipe.method.completions_per_prompt:
        return None
    if model.backend == "unsloth" or (family and not family.shared_prefix):
        return RecipeError(
            "completions of a server need lowmed's forward pass, which does not run "
            + ("unsloth's layers" if model.backend == "unsloth" or not family else family.title),
            "model.rollout",
            "use model.rollout=auto",
        )
    if getattr(recipe.method, "temperature", 1.0) != 1:
        return RecipeError(
            "a vLLM server returns log-probabilities of temperature 1",
            "method.temperature and model.rollout",
            "use method.temperature=1, or model.rollout=auto",
        )
    from lowmed.judge import openai_client

    try:
        openai_client.host(model.rollout_url, "model.rollout_url")
    except SetupError as error:
        return error
    return None


def _own_trainer_error(recipe: Recipe) -> LowmedError | None:
    """The error if a family whose layers lowmed does not run meets a setting that needs lowmed's forward pass."""
    family = known_family(recipe.model)
    if family is None or family.shared_prefix:
        return None
    if error := _own_settings_error(recipe, family.title, "use a model of another family"):
        return error
    if recipe.model.rollout == "cuda_graphs":
        return RecipeError(
            f"{family.title} samples with transformers' own code, which is no CUDA graph",
            "model.rollout",
            "use model.rollout=auto",
        )
    if recipe.model.rollout_dtype == "16bit":
        return RecipeError(
            f"{family.title} samples with transformers' own code and the weights that it trains",
            "model.rollout_dtype",
            "use model.rollout_dtype=auto",
        )
    return _measurement_error(recipe, family.title, "model.name", "use a model of another family")


def _unsloth_error(recipe: Recipe) -> LowmedError | None:
    if reads_text_only(recipe.model):
        return RecipeError(
            "lowmed loads vision-language models with unsloth, no text-only ones",
            "model.backend and model.name",
            "use model.backend=transformers",
        )
    if recipe.method.preferences:
        return transformers_only_error(recipe)
    if recipe.lora.start and recipe.method.keeps_reference:
        return kl_reference_error()
    if error := _own_settings_error(recipe, "unsloth's layers", "use model.backend=transformers"):
        return error
    return _measurement_error(recipe, "unsloth's layers", "model.backend", "use model.backend=transformers")


def transformers_only_error(recipe: Recipe) -> RecipeError:
    """The error for a method that trains on completions from a file, if unsloth is the backend."""
    name = recipe.method.kind.upper()
    return RecipeError(f"{name} runs with transformers only", "model.backend", "use model.backend=transformers")


def _own_settings_error(recipe: Recipe, layers: str, fix: str) -> RecipeError | None:
    """The error if the method has a setting that needs lowmed's forward pass, which does not run the layers."""
    settings = recipe.method.own_trainer_settings
    if not settings:
        return None
    return RecipeError(
        f"{settings[0]} needs lowmed's forward pass, which does not run {layers}",
        f"method.{settings[0].partition('=')[0]}",
        f"{fix}, or leave that setting out",
    )


def _measurement_error(recipe: Recipe, layers: str, key: str, fix: str) -> RecipeError | None:
    """The error if a reward needs log-probabilities and lowmed's forward pass does not run the layers, or None."""
    names = [spec.name for spec in recipe.method.reward_specs if rewards.MEASURED & rewards.needs_of(spec)]
    if not names:
        return None
    return RecipeError(
        f"the reward `{names[0]}` needs lowmed's forward pass, which does not run {layers}",
        f"{key} and method.rewards",
        f"{fix}, or leave that reward out",
    )


def kl_reference_error() -> RecipeError:
    """The error for a KL term under unsloth whose reference would be the base instead of the starting adapter."""
    return RecipeError(
        "unsloth measures the KL term from the base, not from the adapter that this run starts from",
        "model.backend, method.beta and lora.start",
        "use model.backend=transformers, or method.beta=0",
    )


def silence_libraries() -> None:
    """Turn off telemetry, progress bars and warnings of all libraries. Call it before they are imported."""
    patches.configure_libraries()


def peak_gib(device_type: str) -> float:
    """Peak memory of this process so far in GiB: reserved on the GPU, or resident on the CPU."""
    if device_type == "cuda":
        import torch

        return torch.cuda.max_memory_reserved() / 2**30
    return resident_gib("VmHWM")  # the peak of getrusage includes that of the parent process, for example a notebook


def resident_gib(field: str) -> float:
    """Resident memory of this process in GiB; `field` of /proc/self/status is `VmRSS` (now) or `VmHWM` (peak)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kib) / 2**20
