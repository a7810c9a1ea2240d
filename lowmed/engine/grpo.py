"""GRPO: TRL's trainer with the recipe's settings. Each prompt is read once, and rows without a gradient are skipped."""

import logging
from dataclasses import replace
from functools import partial
from typing import Any

from trl import GRPOConfig, GRPOTrainer

from lowmed import processes
from lowmed.engine import argument_names, chat, image_ratio, out_of_memory
from lowmed.engine.agreement import Agreement
from lowmed.engine.device import kl_reference_error
from lowmed.engine.ema_adapter import ema_adapter
from lowmed.engine.grpo_trainer import SharedPrefixTrainer
from lowmed.engine.job import TrainingJob
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import decode
from lowmed.engine.prefix.decoder import Decoder
from lowmed.engine.prefix.sampling import Sampling, unwrapped
from lowmed.engine.references import references
from lowmed.engine.resumable import ResumableTrainer
from lowmed.engine.rollouts import RewardFunction, reward_functions
from lowmed.engine.sampler import Sampler
from lowmed.engine.vllm_server import VllmSampler
from lowmed.methods import GrpoSpec
from lowmed.plan.workload import Batch


def build(job: TrainingJob) -> GRPOTrainer:
    """The trainer of a run, with its reward functions. Its dataset has the columns `prompt`, `images` and `row`."""
    method, loaded = job.recipe.method, job.loaded
    assert isinstance(method, GrpoSpec)
    family = job.recipe.prompts.training
    ema = ema_adapter(job.rewards, loaded, job.rows, family, job.size.per_device_train_batch_size)
    functions = reward_functions(
        job.rewards,
        job.rows,
        loaded.end_ids,
        job.run,
        completion_format=family.completion_format,
        canary_steps=method.canary_steps,
        steps_per_batch=method.steps_per_batch,
        measures={"likelihood": ema.likelihood if ema else None, "image_log_ratio": image_ratio.for_job(job)},
        opening=chat.assistant_start(loaded.processor, family).opening,
    )
    trainer = build_trainer(
        method,
        replace(loaded, processor=chat.with_prefill(loaded.processor, family)),
        job.dataset,
        functions,
        job.arguments,
        job.size,
    )
    if isinstance(trainer, SharedPrefixTrainer):
        sampler = trainer.sampler
        assert isinstance(sampler, Sampler)
        if url := job.recipe.model.rollout_url:
            trainer.sampler = VllmSampler(url, job.run.folder, sampler.sampling, family.prefill)
        sampler.rows_per_draw = _rows_per_draw(job)
        sampler.sample_less = partial(out_of_memory.sample_less, job.run, job.log)
        trainer.references = references(job) if method.mix else None
    if ema:
        trainer.add_callback(ema)
    return trainer


def _rows_per_draw(job: TrainingJob) -> int | None:
    """Completions whose random numbers are drawn together; None for those of one call. Several processes share them."""
    recorded: int | None = job.run.record.rows_per_draw
    if recorded is None and processes.size() > 1 and job.size.rows_per_generate < job.recipe.method.rows_per_step:
        recorded = job.recipe.method.rows_per_step
        job.run.update(rows_per_draw=recorded)
    return recorded


def build_trainer(
    method: GrpoSpec,
    loaded: Loaded,
    dataset: Any,
    functions: list[RewardFunction],
    common: dict[str, Any],
    size: Batch,
) -> GRPOTrainer:
    """The trainer: `SharedPrefixTrainer` for families that support it, otherwise TRL's own with a correction.

    Args:
        method: settings of the recipe.
        loaded: model with its adapter, and processor.
        dataset: columns `prompt`, `images`, `row`, already in training order.
        functions: one for each reward, in the recipe's order.
        common: the training arguments that all methods share.
        size: how a step is divided into passes.

    Raises:
        RecipeError: unsloth would measure the KL term from the base instead of the starting adapter.
    """
    shares_prefix = loaded.backend != "unsloth" and decode.supports(unwrapped(loaded.model))
    gradient_checkpointing = common["gradient_checkpointing"]
    arguments = GRPOConfig(
        num_generations=method.num_generations,
        max_completion_length=method.max_completion_length,
        temperature=method.temperature,
        top_p=method.top_p,
        top_k=method.top_k,
        min_p=method.min_p,
        beta=method.beta,
        epsilon=method.epsilon,
        epsilon_high=method.epsilon_high,
        delta=method.delta,
        importance_sampling_level=method.importance_sampling_level,
        sapo_temperature_pos=method.sapo_temperature_pos,
        sapo_temperature_neg=method.sapo_temperature_neg,
        entropy_coef=method.entropy_coef,
        top_entropy_quantile=method.top_entropy_quantile,
        num_iterations=method.num_iterations,
        loss_type=method.loss_type,
        scale_rewards=method.scale_rewards,
        multi_objective_aggregation=method.multi_objective_aggregation,
        reward_weights=[reward.weight for reward in method.rewards],
        mask_truncated_completions=method.mask_truncated_completions,
        shuffle_dataset=False,  # the rows are in training order already
        # A sampled image token would fail the next forward pass: https://github.com/huggingface/trl/issues/3847
        generation_kwargs={"suppress_tokens": loaded.suppressed},
        log_completions=False,  # rollouts.jsonl has them all, and TRL's table would copy the images
        # The forward pass over shared prompts does its own checkpointing.
        **argument_names.training_arguments(
            common | {"gradient_checkpointing": gradient_checkpointing and not shares_prefix}
        ),
    )
    options = {
        "model": loaded.model,
        "reward_funcs": list(functions),
        "args": arguments,
        "train_dataset": dataset,
        "processing_class": loaded.processor,
    }
    if loaded.backend == "unsloth":  # it rewrites TRL's trainer and the layers
        trainer = GRPOTrainer(**options)
        _check_kl_reference(trainer)
        return trainer
    if not shares_prefix:
        if loaded.vision_cache or loaded.family.text_only:  # otherwise this was stated when the model was loaded
            logging.getLogger("lowmed").warning(
                f"prompts are not shared for `{loaded.model.config.model_type}`: every completion reads its own prompt"
            )
        return ResumableTrainer(**options)
    trainer = SharedPrefixTrainer(**options)
    sampling = Sampling(
        method.max_completion_length,
        method.temperature,
        loaded.suppressed,
        trainer.eos_token_ids,
        Decoder(loaded.uses_cuda_graphs, size.keeps_kv_cache, size.dequantizes_rollouts),
        method.top_p,
        method.top_k,
        method.min_p,
    )
    trainer.method, trainer.references = method, None
    trainer.spare_rows = range(len(dataset) - method.spare_draws, len(dataset))
    trainer.sampler = Sampler(sampling, size.rows_per_generate)
    trainer.agreement = Agreement()
    trainer.gradient_checkpointing = gradient_checkpointing
    return trainer


def _check_kl_reference(trainer: GRPOTrainer) -> None:
    """Check that a KL term is measured from the base: unsloth leaves out TRL's copy of the starting adapter.

    Raises:
        RecipeError: the starting adapter is not zero.
    """
    weights = trainer.model.named_parameters()
    if trainer.beta and any(weight.any() for name, weight in weights if "lora_B.default" in name):
        raise kl_reference_error()
