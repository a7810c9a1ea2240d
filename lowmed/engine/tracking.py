"""Trainer callback: passes complete steps to the tracker of the recipe."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from PIL.Image import Image
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lowmed import processes
from lowmed.engine.training_data import TrainingRow
from lowmed.run import Run
from lowmed.tracking.follower import Follower


class TrackingCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Added last, so that the files of the run hold a step before it is passed on."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A step is recorded."""
        self.follower.step(state.global_step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A checkpoint is complete."""
        self.follower.checkpoint(state.global_step)


@contextmanager
def track(
    run: Run,
    trainer: Any,
    kept_step: int,
    rows: Sequence[TrainingRow],
    open_image: Callable[[str], Image],
    is_finished: Callable[[], bool],
) -> Iterator[None]:
    """Track the training inside of the block, if the recipe names a tracker.

    Args:
        run: the run.
        trainer: its trainer, with all other callbacks.
        kept_step: step of the checkpoint that it resumes from, or 0.
        rows: all rows of the run.
        open_image: opens an image reference of a sample.
        is_finished: whether the training has reached its end.

    Raises:
        SetupError: the tracker cannot start.
    """
    if run.recipe.track.to is None or not processes.is_first():
        yield
        return
    follower = Follower(run, kept_step, lambda row: [open_image(image) for image in rows[row].sample.images])
    trainer.add_callback(TrackingCallback(follower))
    try:
        yield
    except BaseException:
        follower.close("failed")
        raise
    follower.close("finished" if is_finished() else "stopped")
