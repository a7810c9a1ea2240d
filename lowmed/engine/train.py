"""One training run from its recipe to its adapter, whatever the method."""

import contextlib
import importlib
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lowmed import rewards
from lowmed.data.split import DataSplit
from lowmed.engine import device, load, training_data
from lowmed.engine.job import TrainingJob
from lowmed.errors import LowmedError
from lowmed.files import disk_errors, utc_now, write_json
from lowmed.plan import architecture
from lowmed.plan.batch import Batch, choose_batch
from lowmed.recipe import Recipe
from lowmed.recipe.io import portable_recipe
from lowmed.run import Run

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "numpy", "lowmed")
Report = Callable[[int, dict[str, float]], None]


def load_for_training(recipe: Recipe) -> load.Loaded:
    """The recipe's model with the adapter to train, before anything is written.

    Raises:
        LowmedError: the machine or the model does not allow it.
    """
    if refused := device.unsupported_error(recipe):
        raise refused
    here = device.find_device(recipe.model)
    loaded = load.load_base(recipe.model, here)
    from transformers import set_seed

    set_seed(recipe.seed)
    return load.with_trainable_adapter(loaded, recipe.lora, portable_recipe(recipe).model.name)


def train(
    run: Run,
    loaded: load.Loaded,
    data_split: DataSplit,
    *,
    report: Report,
    deadline: float | None = None,
    resume: bool = False,
) -> str:
    """Train and save the adapter; the run's status afterwards: `finished`, or `stopped` with a checkpoint to resume.

    Args:
        run: its folder; holds the recipe.
        loaded: what `ready` made of that recipe.
        split: the samples to train on, and how to open their images.
        report: called after each update with its number and metrics.
        deadline: `time.monotonic()` at which the run must be over, or None.
        resume: go on from the last finished checkpoint.

    Raises:
        LowmedError: the disk, the data or the loss does not allow to go on; the run's status is then `failed`.
    """
    try:
        return _train(run, loaded, data_split, report, deadline, resume)
    except KeyboardInterrupt:
        run.update(status="stopped", ended=utc_now(), reason="interrupted twice; the last checkpoint stands")
        raise
    except BaseException as error:  # whatever ended the run is recorded, and goes on up
        what = error.what if isinstance(error, LowmedError) else f"{type(error).__name__}: {error}"
        run.update(status="failed", ended=utc_now(), error=what)
        raise


def _train(
    run: Run, loaded: load.Loaded, data_split: DataSplit, report: Report, deadline: float | None, resume: bool
) -> str:
    from lowmed.engine import callbacks

    started = time.monotonic()
    recipe, here = run.recipe, loaded.machine
    family = recipe.prompts.training
    turns = training_data.schedule(
        data_split.train,
        recipe.method.max_steps * recipe.method.prompts_per_step,
        len(family.wordings),
        recipe.seed,
        in_order=recipe.data.order == "easy_to_hard",
        sample_keys=recipe.data.sample_keys,
    )
    run.update(
        status="running",
        card=here.card,
        precision=here.precision,
        backend=loaded.backend,
        base_commit=getattr(loaded.model.config, "_commit_hash", None),
        python=platform.python_version(),
        versions={name: version(name) for name in PACKAGES},
        data_digest=data_split.digest,
        prompt_digests={"train": family.digest, "infer": recipe.prompts.asking.digest},
        image_pixels=[loaded.policy.min_pixels, loaded.policy.max_pixels],
    )
    write_json(run.folder / "split.json", data_split.ids())
    built = rewards.for_recipe(recipe)
    size = batch_size(run, loaded)
    dataset = training_data.as_dataset(
        turns, family, data_split.open_image, loaded.policy, with_reference=recipe.method.with_completion
    )
    job = TrainingJob(recipe, loaded, run, turns, dataset, built, size, arguments(recipe, loaded, run, size))
    trainer = _trainer(job)
    stop = callbacks.StopSignal(deadline)
    trainer.add_callback(callbacks.RunCallback(run, stop, report, recipe.method.steps_per_batch))
    checkpoint = _rewind(run) if resume else None
    with stop.listening(), disk_errors(run.folder), _judged(run, built):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = (run.record.seconds or 0.0) + time.monotonic() - started
    peak = max(run.record.peak_gib or 0.0, device.peak_gib(here.device))
    update = trainer.state.global_step
    encoded = (run.record.images_encoded or 0) + (loaded.tower.encoded if loaded.tower else 0)
    run.update(
        ended=utc_now(), steps=update, seconds=round(seconds, 1), peak_gib=round(peak, 3), images_encoded=encoded
    )
    if update < recipe.method.max_steps:
        run.update(status="stopped", reason=stop.reason)
        return "stopped"
    save_adapter(loaded.model, run)
    run.update(status="finished")
    return "finished"


@contextlib.contextmanager
def _judged(run: Run, built: list[rewards.Weighted]) -> Iterator[None]:
    """Keep in the run what was sent to a judge, and where, however the training ends."""
    judge = next((result for each in built if (result := getattr(each.reward, "judge", None))), None)
    try:
        yield
    finally:
        if judge:
            run.update(judge_usage=[*run.record.judge_usage, judge.usage()])


def _trainer(job: TrainingJob) -> Any:
    from transformers import PrinterCallback

    model = job.loaded.model
    # TRL turns the adapter of a 4-bit model into bf16, which loses digits and breaks fp16 scaling: it stays in 32 bits.
    exact = {name: weight.detach().float().clone() for name, weight in _adapter_weights(model)}
    if job.loaded.machine.device == "cpu":
        from lowmed.engine.prefix.logprobs import use_plain_torch

        use_plain_torch()
    trainer = importlib.import_module(f"lowmed.engine.{job.recipe.method.trainer}").build(job)
    for name, weight in _adapter_weights(trainer.model):
        weight.data = exact[name]
    trainer.remove_callback(PrinterCallback)
    trainer.create_model_card = lambda **_: None  # the run's own record and card say more than TRL's template
    return trainer


def arguments(recipe: Recipe, loaded: load.Loaded, run: Run, size: Batch) -> dict[str, Any]:
    """The training arguments that all methods share."""
    method = recipe.method
    here = loaded.machine
    again = method.steps_per_batch
    warmup = round(method.warmup_ratio * method.max_steps)
    constant = "constant_with_warmup" if warmup else "constant"
    return {
        "output_dir": str(run.checkpoints),
        "max_steps": method.max_steps,
        "per_device_train_batch_size": size.per_device_train_batch_size,
        "gradient_accumulation_steps": method.rows_per_step // size.per_device_train_batch_size,
        "learning_rate": method.learning_rate * recipe.model.learning_rate_scale,
        "lr_scheduler_type": constant if method.lr_scheduler_type == "constant" else method.lr_scheduler_type,
        "warmup_steps": warmup,
        "max_grad_norm": method.max_grad_norm,
        "weight_decay": 0.0,
        "optim": "adamw_torch",
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "bf16": here.precision == "bf16",
        "fp16": here.precision == "fp16",
        "use_cpu": here.device == "cpu",
        "gradient_checkpointing": size.gradient_checkpointing,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would log a loss that is no number as 0
        "save_strategy": "steps",
        "save_steps": -(-method.save_steps // again) * again,  # never between two steps on the same completions
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def batch_size(run: Run, loaded: load.Loaded) -> Batch:
    """How the planner cuts an update for the card; a resumed run keeps to what it began with."""
    if kept := run.record.batch:
        return Batch(**kept)
    here = loaded.machine
    sizes = architecture.from_config(loaded.model.config.to_dict())
    size = choose_batch(run.recipe, sizes, here.memory_gib, card=here.card, precision=here.precision)
    run.update(batch=asdict(size))
    return size


def save_adapter(model: Any, run: Run) -> None:
    """Write the adapter as plain PEFT, whole or not at all."""
    aside = run.folder / ".adapter.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    with disk_errors(run.folder):
        model.save_pretrained(str(aside), selected_adapters=["default"])  # not TRL's copy of it for a KL term
        (aside / "README.md").unlink(missing_ok=True)  # PEFT's template, all placeholders
        aside.replace(run.adapter)


def _adapter_weights(model: Any) -> list[tuple[str, Any]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def _rewind(run: Run) -> Path | None:
    """The checkpoint to go on from; what was written after it, or only in part, is removed."""
    last = run.last_checkpoint()
    update = int(last.name.rpartition("-")[2]) if last else 0
    for folder in run.checkpoints.glob("checkpoint-*"):
        if not (folder / "complete.json").exists():
            shutil.rmtree(folder)
    for name in ("metrics.jsonl", "rollouts.jsonl", "canaries.jsonl"):
        run.rewind(name, update)
    return last
