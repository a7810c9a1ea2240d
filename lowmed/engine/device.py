"""What this machine has to train with, told before anything heavy is imported or downloaded."""

import logging
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowmed import rewards
from lowmed.errors import LowmedError, RecipeError, SetupError
from lowmed.recipe import ModelSpec, Recipe

Precision = Literal["bf16", "fp16", "fp32"]
SMALL_BYTES = 256 * 2**20  # of weights: what a CPU answers with in bearable time


@dataclass(frozen=True)
class Device:
    """The device that a run uses: name of the card, its memory, and the precision that it computes in."""

    device: Literal["cuda", "cpu"]
    card: str
    memory_gib: float
    precision: Precision


def find_device(model: ModelSpec) -> Device:
    """The card, or the CPU where the model is small enough to be tried on it.

    Raises:
        SetupError: the model needs a CUDA card and there is none, or torch cannot use the one that is there.
    """
    silence_libraries()
    import torch

    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        bf16 = torch.cuda.get_device_capability(0) >= (8, 0)  # older cards emulate bf16, slowly
        return Device("cuda", card.name, card.total_memory / 2**30, "bf16" if bf16 else "fp16")
    # TRL's log-probability kernel is Triton's, which must be told before its first import that there is no card.
    os.environ.setdefault("TRITON_INTERPRET", "1")
    if model.name == "nano" or _small(Path(model.name)):
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)  # so small a model's work is done before other threads wake up
        return Device("cpu", "CPU", 0.0, "fp32")
    if model.weights == "random":
        return Device("cpu", "CPU", 0.0, "fp32")
    if driver_present():
        raise SetupError(
            f"torch {torch.__version__} (CUDA {torch.version.cuda}) can not use the NVIDIA driver of this machine",
            "torch.cuda.is_available() is False although a driver is installed",
            "update the driver, or install a torch built for it; `lowmed doctor` shows both versions",
        )
    raise SetupError(
        f"{model.name} needs a CUDA card and this machine has none",
        "model.name",
        "run on a machine with a card, or try the whole path here with --nano",
    )


def _small(folder: Path) -> bool:
    """Whether a local model folder holds few enough weights for a CPU, like a merged nano."""
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")]
    return 0 < sum(sizes) < SMALL_BYTES


# Cards on which compiled decoding of a 16-bit base was measured faster. Empty: not measured yet.
COMPILED_FASTER: frozenset[str] = frozenset()


def choose_rollout(model: ModelSpec, machine: Device) -> tuple[str, str]:
    """`transformers` or `compiled`, and why: the recipe's, else what was measured faster on this card."""
    if model.rollout != "auto":
        return model.rollout, "the recipe says so"
    if model.load_in == "4bit":
        return "transformers", "a 4-bit base is not compiled"
    if model.backend == "unsloth":
        return "transformers", "unsloth samples by its own code"
    if machine.card in COMPILED_FASTER:
        return "compiled", f"measured faster on {machine.card}"
    return "transformers", f"compiled decoding has not been measured faster on {machine.card}"


def unsupported_error(recipe: Recipe) -> LowmedError | None:
    """Why the recipe's model cannot do what the recipe asks, or None where it can. Asked before anything is loaded.

    With TRL 1.15 vLLM is wrong in both cases that this project has: images and a 4-bit base. transformers does not let
    a bitsandbytes 4-bit base be compiled, and unsloth samples by its own code.
    """
    model, where, fix = recipe.model, "model.rollout", "use model.rollout=transformers, which reads each prompt once"
    four_bit = model.load_in == "4bit"
    if model.rollout == "vllm" and four_bit:
        what = "vllm can not sample from a 4-bit base that trains: it is sent packed weights that it does not take"
    elif model.rollout == "vllm":
        what = "vllm samples nonsense here: TRL 1.15 sends it prompts whose images it then expands a second time"
    elif model.rollout == "compiled" and four_bit:
        what, fix = "a 4-bit base can not be compiled", f"use model.load_in=16bit, or {fix.removeprefix('use ')}"
    elif model.rollout == "compiled" and model.backend == "unsloth":
        what = "unsloth samples by its own code, which lowmed does not compile"
    elif model.backend == "unsloth":
        return _unsloth_refusal(recipe)
    else:
        return None
    return RecipeError(what, where, fix)


def _unsloth_refusal(recipe: Recipe) -> LowmedError | None:
    if recipe.lora.start and recipe.method.keeps_reference:
        return kl_reference_error()
    if names := [spec.name for spec in recipe.method.reward_specs if "likelihood" in rewards.needs_of(spec)]:
        return RecipeError(
            f"the reward `{names[0]}` reads replies by lowmed's own forward, which unsloth's layers do not take",
            "model.backend and method.rewards",
            "use model.backend=transformers, or leave that reward out",
        )
    return None


def kl_reference_error() -> RecipeError:
    """What is told where unsloth would measure the KL term from another adapter than is meant."""
    return RecipeError(
        "unsloth measures the KL term from the base, not from the adapter that this run starts from",
        "model.backend, method.beta and lora.start",
        "use model.backend=transformers, or method.beta=0",
    )


def driver_present() -> bool:
    """Whether an NVIDIA driver is installed, usable by torch or not."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def silence_libraries() -> None:
    """Nothing leaves this machine unasked, and libraries do not talk over the run."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Read when torch loads its threads: spinning ones make an update ten times slower when somebody else uses a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if os.environ.get("LOWMED_OFFLINE") == "1":
        os.environ["HF_HUB_OFFLINE"] = "1"
    for name in ("bitsandbytes", "trl", "peft", "accelerate", "torch.utils._pytree", "torch.utils.cpp_extension"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(bitsandbytes|peft|trl|torch)\b.*")


def peak_gib(device: str) -> float:
    """Most memory that was taken so far, GiB: reserved on the card, or resident in this process on the CPU."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved() / 2**30
    return resident_gib("VmHWM")  # getrusage's peak is inherited from what started this process, a notebook for one


def resident_gib(field: str) -> float:
    """A field of Linux's account of this process: `VmRSS` now resident, `VmHWM` at the peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kib) / 2**20
