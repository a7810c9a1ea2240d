"""Every change that lowmed makes to other libraries at run time, with its reason and the upstream report.

Importing this module changes nothing: each change is a function, and its docstring names the caller. The functions
import the libraries themselves, because unsloth must be imported before transformers, TRL and peft.

Three things are elsewhere. `engine/grpo_trainer.py` and `engine/dpo.py` subclass TRL's trainers and list the methods.
`engine/prefix/attention.py` adds an attention function to transformers' registry, a documented extension point.
`nano/measure.py` repeats `keep_4bit_layers_trainable`, because the embedded model may not import the engine.
"No upstream report known" means that a search of the library's issues found none.
"""

import functools
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "DISABLE_MLFLOW_INTEGRATION": "TRUE",  # TRL would import it, in 2 s, wherever it is installed
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "TOKENIZERS_PARALLELISM": "false",
    # torch reads it when it starts its threads. Threads that spin while they wait make a step ten times slower as soon
    # as another process uses a core.
    "OMP_WAIT_POLICY": "PASSIVE",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
LOGGERS = ("bitsandbytes", "trl", "peft", "accelerate", "torch.utils._pytree", "torch.utils.cpp_extension")


# Environment and logging


def configure_libraries() -> None:
    """Turn off telemetry, progress bars and warnings of all libraries; called by `device.silence_libraries`.

    Reason: training data are confidential, and lowmed draws its own progress. Variables that the user has set are kept.
    These are documented settings; there is nothing to report.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if os.environ.get("LOWMED_OFFLINE") == "1":
        os.environ["HF_HUB_OFFLINE"] = "1"
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(bitsandbytes|peft|trl|torch)\b.*")
    # PEFT 0.21 and TRL 1.16 read this attribute, which transformers 5.24 has renamed.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")


def silence_transformers() -> None:
    """Show errors of transformers only, and no progress bars; called by `load.load_base`."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def interpret_triton() -> None:
    """Run Triton kernels in Triton's interpreter; called by `device.find_device` where there is no GPU.

    Reason: TRL imports a Triton kernel for log-probabilities, and Triton reads this variable at its first import.
    No upstream report known.
    """
    os.environ.setdefault("TRITON_INTERPRET", "1")


# bitsandbytes


def keep_4bit_layers_trainable(model: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16; called by `transformers_backend.load`.

    Reason: the first inference forward pass repacks them into a layout that has no backward pass. The layout came with
    https://github.com/bitsandbytes-foundation/bitsandbytes/pull/1804. No report of this problem known.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


# peft


def skip_vocabulary_check(model: Any) -> None:
    """Save an adapter without looking up its base model on the hub; called by `load.with_trainable_adapter`.

    Reason: PEFT otherwise requests the base's config.json at every checkpoint to see whether the vocabulary changed.
    lowmed never changes it. Reports: https://github.com/huggingface/peft/issues/1452 and
    https://github.com/huggingface/peft/issues/3211.
    """
    model.save_pretrained = functools.partial(model.save_pretrained, save_embedding_layers=False)


# transformers


def replace_vision_forward(vision_tower: Any, forward: Callable[..., Any]) -> None:
    """Put the vision cache in the place of the tower's `forward`; called by `vision.cache.cache_vision_tower`.

    Reason: transformers and TRL encode the same image in every forward pass, once for each row. Only the attribute of
    this one module changes: its class, its weights and their names stay as they are. No upstream report known.
    """
    vision_tower.forward = forward


def replace_class(instance: Any, subclass: type) -> None:
    """Turn an image processor into its caching subclass; called by `vision.processor_cache.cache_processed_images`.

    Reason: TRL processes the image of a prompt again for each completion. Python looks `__call__` up in the class, so
    that an attribute of the instance would have no effect. The subclass takes the name of its base, because
    transformers writes the name into preprocessor_config.json. No upstream report known.
    """
    subclass.__name__ = subclass.__qualname__ = type(instance).__name__
    instance.__class__ = subclass


@contextmanager
def use_attention(config: Any, name: str) -> Iterator[None]:
    """Use another registered attention function inside the block; called by `prefix.attention` around each layer.

    Reason: generation by transformers and the forward pass over shared prompts need different functions on one model.
    The public `set_attn_implementation` (https://github.com/huggingface/transformers/pull/38974) visits all modules
    at each call, which is too slow around each layer. No upstream report known.
    """
    before, config._attn_implementation = config._attn_implementation, name
    try:
        yield
    finally:
        config._attn_implementation = before


@contextmanager
def before_training(prepare: Callable[[Any], None]) -> Iterator[None]:
    """Call `prepare(trainer)` before any trainer starts inside the block; called by `dry_run`.

    Reason: a dry run measures methods of a trainer that `train.train` builds itself. A callback cannot do this: it only
    runs between the methods. `prepare` replaces them on this one trainer. There is nothing to report.
    """
    from transformers import Trainer

    original = Trainer.train

    def train(self: Any, *arguments: Any, **options: Any) -> Any:
        prepare(self)
        return original(self, *arguments, **options)

    Trainer.train = train
    try:
        yield
    finally:
        Trainer.train = original


# TRL


def use_torch_log_probs() -> None:
    """Replace TRL's Triton kernel for log-probabilities by plain torch; called by `train` and `eval` without a GPU.

    Reason: Triton's interpreter takes nine tenths of a step on a CPU. No upstream report known.
    """
    import trl.trainer.utils

    from lowmed.engine.prefix.logprobs import TorchLogProb

    trl.trainer.utils._ChunkedLogProbFunction = TorchLogProb


def build_with_float32_adapter(build: Callable[[], Any], model: Any) -> Any:
    """Build a TRL trainer and restore the 32-bit adapter weights; called by `train`.

    Reason: TRL's trainers cast the adapter of a 4-bit model to bf16. This loses digits of the weights, and fp16 loss
    scaling fails on bf16 gradients. Reports: https://github.com/huggingface/trl/issues/4901 for fp16, and
    https://github.com/huggingface/trl/pull/7272 for updates that round to 0.

    Args:
        build: makes the trainer.
        model: the model with its adapter, as the trainer gets it.

    Returns:
        The trainer.
    """
    weights = {name: weight.detach().float().clone() for name, weight in _trained(model)}
    trainer = build()
    for name, weight in _trained(trainer.model):
        weight.data = weights[name]
    return trainer


def skip_model_card(trainer: Any) -> None:
    """Write no model card with checkpoints; called by `train`.

    Reason: TRL's template would stand next to lowmed's own record and card of the run. There is nothing to report.
    """
    trainer.create_model_card = lambda **_: None


def _trained(model: Any) -> list[tuple[str, Any]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


# unsloth


def prepare_unsloth() -> "tempfile.TemporaryDirectory[str]":
    """Set the variables that unsloth reads at its import; called by `unsloth_backend` before that import.

    Reason: unsloth writes generated code into the working directory and imports whatever it finds there. The variable
    came with https://github.com/unslothai/unsloth-zoo/pull/216.

    Returns:
        The directory for generated code. It is removed when the process ends, or when nothing refers to this object.
    """
    generated = tempfile.TemporaryDirectory(prefix="lowmed-unsloth-", ignore_cleanup_errors=True)
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", generated.name)
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    return generated


def undo_unsloth_overrides(config: Any, *trainers: Any) -> None:
    """Undo changes of unsloth's rewritten TRL that alter the result of a run; called by `unsloth_backend`.

    Reasons:
    - It replaces `epsilon_high` under the dapo loss and `scale_rewards` under dr_grpo by values of its own
      (https://github.com/unslothai/unsloth/pull/3604 shows the messages).
    - It sets the processor's padding side to the right, which misaligns the positions of images
      (https://github.com/unslothai/unsloth/issues/3283 reports it for `generate`).
    - It passes plain texts instead of messages to reward functions, on purpose
      (https://github.com/unslothai/unsloth/pull/3974).

    Args:
        config: TRL's GRPOConfig.
        trainers: TRL's trainers.
    """
    original = config.__init__

    @functools.wraps(original)
    def initialize(self: Any, **settings: Any) -> None:
        original(self, **settings)
        for name in {"epsilon_high", "scale_rewards"} & settings.keys():
            setattr(self, name, settings[name])

    config.__init__ = initialize
    for trainer in trainers:
        trainer.__init__ = _padding_left(trainer.__init__)
        if hasattr(trainer, "_calculate_rewards"):
            trainer._calculate_rewards = _with_messages(trainer._calculate_rewards)


def _padding_left(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def initialize(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.processing_class.tokenizer.padding_side = "left"

    return initialize


def _with_messages(original: Callable[..., Any]) -> Callable[..., Any]:
    def calculate_rewards(self: Any, inputs: Any, prompts: Any, completions: list[Any], ids: Any) -> Any:
        messages = [
            [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
            for completion in completions
        ]
        return original(self, inputs, prompts, messages, ids)

    return calculate_rewards
