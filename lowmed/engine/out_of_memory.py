"""GPU memory that runs out: the run goes on, once, with half the rows in a forward pass, or half the completions."""

import gc
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lowmed import processes
from lowmed.errors import SetupError
from lowmed.plan.batch import halved
from lowmed.plan.workload import Batch
from lowmed.progress import Log
from lowmed.run import Run

if TYPE_CHECKING:
    from lowmed.engine.pause import StepStart  # imports transformers; unsloth must be imported first


class SmallerBatchError(Exception):
    """The run has to be resumed, with the smaller batch that its record now has."""


def stopped_by(trainer: Any, run: Run, step_start: "StepStart", log: Log) -> Exception:
    """What to raise after an update ran out of memory. The last whole step is saved, unless its completions are lost.

    Args:
        trainer: its weights are those of the last whole step.
        run: its batch is halved in its record, if it never was.
        step_start: the state of the random generators at the start of the update.
        log: gets a line if the run can go on.

    Returns:
        SmallerBatchError: the run can go on.
        SetupError: it has halved its batch before, has one row in a forward pass, or is one of several processes.
    """
    recipe, record, step = run.recipe, run.record, trainer.state.global_step
    alone = processes.size() == 1  # the other processes would go on with the larger batch
    if step % recipe.method.steps_per_batch == 0:
        step_start.save_checkpoint(trainer)
    batch = Batch(**record.batch or {})
    rows, smaller = batch.per_device_train_batch_size, halved(batch, recipe.method.rows_per_step)
    if smaller is None or record.batch_halved_after is not None or not alone:
        lower = ["method.max_completion_length"] if recipe.method.max_sampled_tokens else []
        lower += ["method.per_device_train_batch_size"] if rows > 1 else []
        lower += ["model.max_image_tokens"]
        fix = f"free GPU memory and --resume, or start a new run with a lower {' or '.join(lower)}"
        fix += "" if batch.gradient_checkpointing else ", or method.gradient_checkpointing=true"
        return SetupError(
            f"the GPU ran out of memory in step {step + 1}, with {rows} row{'s' * (rows > 1)} in a forward pass",
            str(run.folder),
            fix,
        )
    run.update(batch=asdict(smaller), batch_halved_after=step)
    less = smaller.per_device_train_batch_size
    log(f"memory  ran out in step {step + 1}; going on with {less} instead of {rows} rows in a forward pass")
    return SmallerBatchError()


class SamplingError(SetupError):
    """Sampling ran out of memory, and cannot go on with fewer completions at once."""


def sample_less(run: Run, log: Log, step: int, rows: int) -> int:
    """How many completions to sample at once after memory ran out. The tokens stay those of one call.

    Args:
        run: its record gets the smaller number, if it never did.
        log: gets a line.
        step: the last whole step.
        rows: completions that were sampled at once.

    Returns:
        Half of them.

    Raises:
        SamplingError: the number was halved before, or is 1, or this is one of several processes.
    """
    record = run.record
    if rows == 1 or record.sampling_halved_after is not None or processes.size() > 1:
        raise sampling_error(step, rows)
    batch = replace(Batch(**record.batch or {}), rows_per_generate=-(-rows // 2))
    run.update(batch=asdict(batch), sampling_halved_after=step, rows_per_draw=rows)
    log(
        f"memory  ran out in step {step + 1} while sampling; going on with {batch.rows_per_generate} instead of {rows} "
        "completions at once"
    )
    return batch.rows_per_generate


def sampling_error(step: int, rows: int) -> SamplingError:
    """The error of a run that cannot sample fewer completions at once."""
    return SamplingError(
        f"the GPU ran out of memory while it sampled {rows} completion{'s' * (rows > 1)} at once",
        f"step {step + 1}",
        "free GPU memory and --resume, or start a new run with a lower method.max_completion_length or "
        "method.num_generations or model.max_image_tokens",
    )


def free() -> None:
    """Return the memory of objects that nothing refers to any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
