"""Pause a training run in the middle of a step: with the checkpoint of the step before, from which it resumes equal."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from lowmed import processes


class StepStart(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Remembers the random generators at the start of a step, before its completions are sampled."""

    def __init__(self) -> None:
        self.python: Any = None
        self.numpy: Any = None
        self.cpu: torch.Tensor | None = None
        self.cuda: list[torch.Tensor] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Remember the state of all generators."""
        self.python, self.numpy, self.cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def save_checkpoint(self, trainer: Any) -> None:
        """Save the checkpoint of the last whole step, unless it exists, or there is no such step.

        No weight has changed since, so only the random generators are set back.
        """
        step = trainer.state.global_step
        complete = Path(trainer.args.output_dir) / f"checkpoint-{step}" / "complete.json"
        if not processes.is_first() or not step or self.cpu is None or complete.exists():
            return
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        trainer._save_checkpoint(trainer.model, trial=None)  # there is no public way
        trainer.control = trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)
