"""An exponential moving average (EMA) of the adapter, and the likelihood of answers under it.

Only the adapter's tensors exist twice. The EMA copy changes places with the trained adapter for one forward pass.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lowmed import prompt
from lowmed.engine.checkpoints import load_errors
from lowmed.engine.load import Loaded
from lowmed.engine.right_completions import Span, log_probs, measure_right
from lowmed.engine.training_data import TrainingRow
from lowmed.errors import RunError
from lowmed.files import disk_errors
from lowmed.rewards import Weighted
from lowmed.rewards.score import LikelihoodReward

FILE = "ema_adapter.safetensors"


def ema_adapter(
    rewards: Sequence[Weighted],
    loaded: Loaded,
    rows: Sequence[TrainingRow],
    family: prompt.Family,
    per_device_train_batch_size: int,
) -> "EmaAdapter | None":
    """The EMA copy if one of the rewards needs it, or None.

    Args:
        rewards: rewards of the recipe.
        loaded: model with the adapter to train.
        rows: all rows of the run.
        family: prompt family.
        per_device_train_batch_size: completions in one forward pass.
    """
    options: Any = next((reward.reward for reward in rewards if "likelihood" in reward.needs), None)
    return EmaAdapter(loaded, rows, family, options, per_device_train_batch_size) if options else None


class EmaAdapter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """An exponential moving average of the adapter's weights.

    Add it before the callback that marks checkpoints as finished, because its file is part of a checkpoint.
    """

    def __init__(
        self,
        loaded: Loaded,
        rows: Sequence[TrainingRow],
        family: prompt.Family,
        options: LikelihoodReward,
        per_device_train_batch_size: int,
    ) -> None:
        self.loaded = loaded
        self.rows = rows
        self.family = family
        self.options = options
        self.per_device_train_batch_size = per_device_train_batch_size
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start as a copy of the adapter, or with the weights of the checkpoint.

        Raises:
            RunError: the checkpoint has none.
        """
        self.weights = {name: weight.detach().clone() for name, weight in self._adapter()}
        if state.global_step:
            file = Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE
            if not file.is_file():
                raise RunError("the checkpoint has no EMA copy of the adapter", str(file), "start a new run")
            with load_errors(file.parent):
                saved = load_file(str(file))
                self.weights = {name: saved[name].to(weight) for name, weight in self.weights.items()}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Update the average every `options.every` steps."""
        if state.global_step % self.options.every == 0:
            for name, weight in self._adapter():
                self.weights[name].lerp_(weight.detach(), 1 - self.options.decay)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the average to the checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        with disk_errors(folder):
            save_file({name: weight.contiguous() for name, weight in self.weights.items()}, str(folder / FILE))

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Use the average instead of the trained adapter inside the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def likelihood(
        self, numbers: list[int], images: list[Any], texts: list[str], ids: list[list[int]]
    ) -> list[float | None]:
        """The likelihood of each right answer under the average: exp of the mean log-probability of its tokens.

        Args:
            numbers: the row of each completion; completions of one prompt are adjacent.
            images: prepared images of each row.
            texts: texts of the completions.
            ids: their tokens.

        Returns:
            One value for each completion; None if its answer is wrong or has no tag.
        """

        def likelihoods(
            row: TrainingRow, first: int, completions: list[list[int]], spans: list[Span]
        ) -> list[float | None]:
            lines = log_probs(self.loaded, self.family, row, images[first], completions)
            return [float(line[slice(*span)].mean().exp()) for line, span in zip(lines, spans, strict=True)]

        with self.swapped_in():
            return measure_right(
                self.loaded,
                self.family,
                self.rows,
                numbers,
                texts,
                ids,
                tag="answer",
                batch_size=self.per_device_train_batch_size,
                measure=likelihoods,
            )

    def _adapter(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, weight) for name, weight in self.loaded.model.named_parameters() if weight.requires_grad]

    def _swap(self) -> None:
        for name, weight in self._adapter():
            weight.data, self.weights[name] = self.weights[name], weight.data
