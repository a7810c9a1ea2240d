"""One training run, from a recipe to a saved adapter, for every method."""

import contextlib
import importlib
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowmed import processes, rewards
from lowmed.data import mixture
from lowmed.data.preference_table import digest
from lowmed.data.run_identity import store_data
from lowmed.data.split import DataSplit
from lowmed.distillation.records import teachers
from lowmed.engine import (
    chat,
    checkpoints,
    data_parallel,
    device,
    load,
    patches,
    training_arguments,
    training_data,
)
from lowmed.engine.adapter import copy_adapter, write_adapter
from lowmed.engine.checkpoint_damage import step_of
from lowmed.engine.job import TrainingJob
from lowmed.engine.run_rewards import recorded
from lowmed.errors import JudgeUnavailableError, LowmedError, RunError, SetupError
from lowmed.evaluation import dev as dev_figures
from lowmed.files import disk_errors, utc_now
from lowmed.models import require_readable
from lowmed.progress import Log, no_log
from lowmed.recipe import Recipe
from lowmed.recipe.io import portable_recipe
from lowmed.records import EarlierMachine
from lowmed.run import Run

if TYPE_CHECKING:  # they import transformers; unsloth must be imported first
    from lowmed.engine.callbacks import StopSignal
    from lowmed.engine.dev_evaluation import DevEvaluation

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "numpy", "lowmed")
Report = Callable[[int, dict[str, float]], None]


def load_for_training(recipe: Recipe) -> load.Loaded:
    """The recipe's model with an adapter to train. Nothing is written.

    Raises:
        LowmedError: the device or the model does not support the recipe.
    """
    if error := device.unsupported_error(recipe):
        raise error
    loaded = load.load_base(recipe.model, device.find_device(recipe.model))
    chat.require_reasoning_prompts(loaded.processor, recipe.prompts.training)
    from transformers import set_seed

    set_seed(recipe.seed)
    loaded = load.with_trainable_adapter(loaded, recipe.lora, portable_recipe(recipe).model.name)
    return load.sharded(loaded, recipe.model)


def train(
    run: Run,
    loaded: load.Loaded,
    data_split: DataSplit,
    *,
    report: Report,
    deadline: float | None = None,
    resume: bool = False,
    log: Log = no_log,
) -> str:
    """Train and save the adapter.

    Args:
        run: the run directory, which holds the recipe.
        loaded: the result of `load_for_training` for that recipe.
        data_split: the samples to train on, and how to open their images.
        report: called after each step with its number and metrics.
        deadline: `time.monotonic()` at which the run must have stopped, or None.
        resume: continue from the last finished checkpoint.
        log: gets a line for each evaluation on dev questions, and for long waits for a judge.

    Returns:
        The status of the run: `finished`, or `stopped` with a checkpoint to resume from.

    Raises:
        LowmedError: the disk, the data or the loss prevents training; the status of the run is then `failed`.
        SmallerBatchError: an update ran out of memory; resume the run, with its model loaded again.
    """
    from lowmed.engine.callbacks import StopSignal
    from lowmed.engine.out_of_memory import SmallerBatchError

    stop = StopSignal(deadline)
    try:
        with processes.lost_errors():
            return _train(run, loaded, data_split, report, stop, resume, log)
    except SmallerBatchError:
        raise
    except KeyboardInterrupt:
        # Without a reason it is the first Ctrl-C, before the first step.
        reason = "interrupted twice; resumes from the last checkpoint" if stop.reason else "SIGINT"
        run.update(status="stopped", ended=utc_now(), reason=reason)
        raise
    except BaseException as error:  # record every failure, then raise it again
        what = error.what if isinstance(error, LowmedError) else f"{type(error).__name__}: {error}"
        if processes.is_first():
            checkpoints.remove_unfinished(run)  # it may have filled the disk
        with contextlib.suppress(SetupError):  # without space the record stays, and `lowmed runs` calls it interrupted
            run.update(status="failed", ended=utc_now(), error=what)
        raise


def _train(
    run: Run,
    loaded: load.Loaded,
    data_split: DataSplit,
    report: Report,
    stop: "StopSignal",
    resume: bool,
    log: Log,
) -> str:
    import torch

    from lowmed.engine import callbacks, no_spread, out_of_memory, pause, tracking
    from lowmed.engine.vllm_server import RolloutServerError

    started = time.monotonic()
    if resume:
        checkpoints.require_precision(run, loaded.device.precision)
    recipe = run.recipe
    family = recipe.prompts.training
    require_readable(loaded.family, data_split.train, "model.name")
    shares = mixture.shares(recipe.data, data_split.drawn)
    rows = training_data.run_rows(recipe, data_split.drawn, shares)
    if processes.is_first():
        store_data(run.folder, data_split)  # before the digest, which says that it is complete
    _record_processes(run, log)
    _record_machine(run, loaded, log)
    run.update(
        status="running",
        backend=loaded.backend,
        base_commit=getattr(loaded.model.config, "_commit_hash", None),
        python=platform.python_version(),
        data_digest=data_split.digest,
        pairs_digest=digest(data_split.pairs) if data_split.pairs else None,
        unpaired_digest=digest(data_split.unpaired) if data_split.unpaired else None,
        explanations_by=teachers(Path(entry.path).expanduser() for entry in recipe.data.entries if entry.path),
        source_shares={name: round(share, 4) for name, share in shares.items()} or None,
        prompt_digests={"train": family.digest, "infer": recipe.prompts.asking.digest},
        image_pixels=[loaded.policy.min_pixels, loaded.policy.max_pixels],
    )
    run_rewards = rewards.with_corpus(rewards.for_recipe(recipe), data_split.train)
    size = data_parallel.share(training_arguments.batch_size(run, loaded), recipe.method.rows_per_step)
    dataset = training_data.as_dataset(
        rows,
        family,
        data_split.open_image,
        loaded.policy,
        with_completion=recipe.method.with_completion,
        start=chat.assistant_start(loaded.processor, family),
        tokenizer=loaded.tokenizer if loaded.family.text_only else None,
    )
    if not recipe.method.completions_per_prompt:
        dataset = dataset.select(data_parallel.own_rows(range(len(rows)), size.per_device_train_batch_size))
    common = training_arguments.arguments(recipe, loaded, run, size)
    job = TrainingJob(recipe, loaded, run, rows, dataset, data_split, run_rewards, size, common, log)
    trainer = _trainer(job)
    dev = _dev_evaluation(job, data_split, log)
    if dev:
        trainer.add_callback(dev)
    trainer.add_callback(no_spread.SpreadWarning(log))
    trainer.add_callback(callbacks.RunCallback(run, stop, report, recipe.method.steps_per_batch))
    step_start = pause.StepStart()
    trainer.add_callback(step_start)
    checkpoint = processes.from_first(lambda: checkpoints.rewind(run, loaded.model, log)) if resume else None
    step = step_of(checkpoint)
    if checkpoint:
        checkpoints.translate_errors(trainer, checkpoint)
    if dev and processes.is_first():
        dev.rewind(step)
    # The process ended before it recorded that.
    stopped_before = processes.from_first(lambda: bool(dev and dev.stopped))

    def is_finished() -> bool:
        return trainer.state.global_step >= recipe.method.max_steps or bool(dev and dev.stopped)

    tracked = tracking.track(run, trainer, step, rows, data_split.open_image, is_finished)
    if not stopped_before:
        with stop.handle_signals(), disk_errors(run.folder), recorded(run, run_rewards, log), tracked:
            try:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            except JudgeUnavailableError as error:
                step_start.save_checkpoint(trainer)
                stop.reason = error.what
                log(f"judge   {error.what}\n        at {error.where}; {error.fix}")
            except (out_of_memory.SamplingError, RolloutServerError):
                step_start.save_checkpoint(trainer)
                raise
            except torch.OutOfMemoryError as error:
                raise out_of_memory.stopped_by(trainer, run, step_start, log) from error
        step = trainer.state.global_step
        # E.g. a StopIteration, which the trainer takes for the end of data.
        if not processes.from_first(is_finished) and not stop.reason:
            what = f"training ended after step {step} of {recipe.method.max_steps} without an error"
            raise RunError(what, str(run.folder), "report it with the last lines of the terminal")
    seconds = (run.record.seconds or 0.0) + time.monotonic() - started
    peak = max((run.record.peak_gib or 0.0), device.peak_gib(loaded.device.type))
    encoded = sum(processes.gather(loaded.vision_cache.encoded if loaded.vision_cache else 0))
    encoded += run.record.images_encoded or 0
    run.update(ended=utc_now(), steps=step, seconds=round(seconds, 1), peak_gib=round(peak, 3), images_encoded=encoded)
    if not stopped_before and not processes.from_first(is_finished):
        run.update(status="stopped", reason=stop.reason)
        return "stopped"
    if not processes.is_first():
        run.update(status="finished")
        return "finished"
    best = dev.best_adapter() if dev else None
    with disk_errors(run.folder):
        if source := best or (checkpoint if stopped_before else None):
            copy_adapter(source, run.adapter)
        else:
            write_adapter(loaded.model, run.adapter)
    early = f"no higher dev accuracy in {recipe.dev.patience} evaluations" if dev and dev.stopped else None
    run.update(status="finished", reason=early, adapter_step=step_of(best) if best else step)
    if dev:
        ended = [f"stopped at step {step}: {early}"] if early else []
        for line in (*ended, *dev_figures.summary(dev.lines, recipe.dev.keep)):
            log(f"dev     {line}")
        dev.remove_best_adapters()
    return "finished"


def _record_processes(run: Run, log: Log) -> None:
    record, size = run.record, processes.size()
    if record.batch and record.processes != size:
        step = step_of(run.last_checkpoint())
        log(f"resume  with {size} instead of {record.processes} processes from step {step} on")
        run.update(earlier_processes=(*record.earlier_processes, (step, record.processes)))
    run.update(processes=size)


def _record_machine(run: Run, loaded: load.Loaded, log: Log) -> None:
    record, card, precision = run.record, loaded.device.card, loaded.device.precision
    versions = {name: version(name) for name in PACKAGES}
    step = step_of(run.last_checkpoint())
    if step and record.card and record.precision:
        before = record.versions or {}
        changed = {name: value for name, value in before.items() if versions.get(name) != value}
        now = [f"{name} {versions.get(name, 'missing')}" for name in changed]
        then = [f"{name} {value}" for name, value in changed.items()]
        if (record.card, record.precision) != (card, precision):
            now, then = [f"{card} ({precision})", *now], [f"{record.card} ({record.precision})", *then]
        if now:
            log(f"resume  with {', '.join(now)} instead of {', '.join(then)} from step {step} on")
            machine = EarlierMachine(until_step=step, card=record.card, precision=record.precision, versions=changed)
            run.update(earlier_machines=(*record.earlier_machines, machine))
    run.update(card=card, precision=precision, versions=versions)


def _dev_evaluation(job: TrainingJob, data_split: DataSplit, log: Log) -> "DevEvaluation | None":
    from lowmed.engine.dev_evaluation import DevEvaluation

    if not data_split.dev:
        return None
    questions = dev_figures.dev_questions(data_split, job.recipe)
    return DevEvaluation(
        job, questions, dev_figures.questions_digest(data_split, questions), data_split.open_image, log
    )


def _trainer(job: TrainingJob) -> Any:
    from transformers import PrinterCallback

    if job.loaded.device.type == "cpu":
        patches.use_torch_log_probs()
    module = importlib.import_module(f"lowmed.engine.{job.recipe.method.trainer}")
    trainer = patches.build_with_float32_adapter(lambda: module.build(job), job.loaded.model)
    trainer.remove_callback(PrinterCallback)
    patches.skip_model_card(trainer)
    return trainer
