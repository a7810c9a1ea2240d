"""Trainers whose forward passes are divided among several processes, with the weights of one process."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from lowmed import processes
from lowmed.plan.workload import Batch


class DataParallel:
    """A trainer that averages gradients and metrics over all processes. It changes nothing in a single process.

    transformers divides nothing: it sees one process. It overrides these methods of transformers and TRL:
    - `training_step`: the gradient of an optimizer step is the mean over the processes, before it is clipped.
    - `_get_num_items_in_batch`: tokens of a step are counted over all processes, and divided by their number.
    - `log`: metrics are means over the forward passes of all processes.
    - `_maybe_log_save_evaluate`: the first process saves. Random generators are equal in all of them.
    """

    accelerator: Any
    control: Any
    model: Any
    _metrics: dict[str, dict[str, list[float]]]

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """As in transformers."""
        loss: torch.Tensor = super().training_step(*arguments, **options)  # type: ignore[misc]
        if processes.size() > 1 and self.accelerator.sync_gradients:
            average_gradients(self.model.parameters())
        return loss

    def _get_num_items_in_batch(self, *arguments: Any) -> Any:
        count = super()._get_num_items_in_batch(*arguments)  # type: ignore[misc]
        if processes.size() == 1 or count is None:
            return count
        return sum(processes.gather(int(count))) / processes.size()

    def log(self, logs: dict[str, float], *arguments: Any) -> None:
        """As in TRL."""
        if processes.size() > 1:
            values = processes.gather(dict(self._metrics["train"]))
            for name in {name for of_process in values for name in of_process}:
                joined = [value for of_process in values for value in of_process.get(name, ())]
                self._metrics["train"][name] = [max(joined)] if name.endswith("/max") else joined
            if "loss" in logs:
                losses = processes.gather(logs["loss"])
                logs["loss"] = sum(losses) / len(losses)
        super().log(logs, *arguments)  # type: ignore[misc]

    def _maybe_log_save_evaluate(self, *arguments: Any, **options: Any) -> None:
        self.control.should_save &= processes.is_first()
        super()._maybe_log_save_evaluate(*arguments, **options)  # type: ignore[misc]


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace the gradient of every trained weight by its mean over all processes."""
    trained = [weight for weight in parameters if weight.requires_grad]
    gradients = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in trained]
    joined = torch.cat([gradient.flatten() for gradient in gradients])  # one exchange instead of one for each layer
    processes.sum_tensor(joined)
    joined /= processes.size()
    parts = torch.split(joined, [weight.numel() for weight in trained])
    for weight, part in zip(trained, parts, strict=True):
        weight.grad = part.view_as(weight)


def share(batch: Batch, rows_per_step: int) -> Batch:
    """The batch of one process: at most as many rows in a forward pass as its share of a step, in equal parts.

    Args:
        batch: as planned for one GPU.
        rows_per_step: rows of all processes.
    """
    rows = rows_per_step // processes.size()
    most = min(batch.per_device_train_batch_size, rows)
    return replace(batch, per_device_train_batch_size=next(n for n in range(most, 0, -1) if rows % n == 0))


def own_rows(rows: Sequence[int], per_device_train_batch_size: int) -> list[int]:
    """The rows of this process: of each forward pass of all processes together, its part.

    Args:
        rows: rows of the run in training order.
        per_device_train_batch_size: rows of a forward pass of one process.
    """
    size, rank, part = processes.size(), processes.place().rank, per_device_train_batch_size
    return [row for number, row in enumerate(rows) if number // part % size == rank]
