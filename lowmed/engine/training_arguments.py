"""The training arguments that all methods share, and the division of a step into forward passes."""

from dataclasses import asdict
from typing import Any

from lowmed import architectures, processes
from lowmed.engine.load import Loaded
from lowmed.engine.shard_support import divides
from lowmed.plan.batch import choose_batch
from lowmed.plan.workload import Batch
from lowmed.recipe import Recipe
from lowmed.run import Run


def arguments(recipe: Recipe, loaded: Loaded, run: Run, size: Batch) -> dict[str, Any]:
    """The training arguments that all methods share.

    Args:
        recipe: all settings.
        loaded: supplies device and precision.
        run: where checkpoints are written.
        size: how a step is divided into forward passes.
    """
    method = recipe.method
    rows = size.per_device_train_batch_size * processes.size()
    warmup = round(method.warmup_ratio * method.max_steps)
    constant = "constant_with_warmup" if warmup else "constant"
    return {
        "output_dir": str(run.checkpoints),
        "max_steps": method.max_steps,
        # With GRPO each process has the rows of all, and forwards its share of them.
        "per_device_train_batch_size": rows if method.completions_per_prompt else size.per_device_train_batch_size,
        "gradient_accumulation_steps": method.rows_per_step // rows,
        "learning_rate": method.learning_rate * recipe.model.learning_rate_scale,
        "lr_scheduler_type": constant if method.lr_scheduler_type == "constant" else method.lr_scheduler_type,
        "warmup_steps": warmup,
        "max_grad_norm": method.max_grad_norm,
        "weight_decay": 0.0,
        "optim": "adamw_torch_fused" if loaded.device.type == "cuda" else "adamw_torch",
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "bf16": loaded.device.precision == "bf16",
        "fp16": loaded.device.precision == "fp16",
        "use_cpu": loaded.device.type == "cpu",
        "gradient_checkpointing": size.gradient_checkpointing,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # the filter would log NaN as 0
        "save_strategy": "steps",
        # Rounded up, so that no checkpoint falls between two steps on the same completions.
        "save_steps": -(-method.save_steps // method.steps_per_batch) * method.steps_per_batch,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def batch_size(run: Run, loaded: Loaded) -> Batch:
    """The split of a step into forward passes: from the planner, or as recorded in a resumed run."""
    if batch := run.record.batch:
        return Batch(**batch)
    used = loaded.device
    sizes = architectures.from_config(loaded.model.config.to_dict())
    shards = processes.size() if divides(run.recipe.model) else 1
    size = choose_batch(run.recipe, sizes, used.memory_gib, card=used.card, precision=used.precision, shards=shards)
    run.update(batch=asdict(size))
    return size
