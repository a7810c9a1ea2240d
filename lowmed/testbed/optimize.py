"""Optimizers of the testbed's base models: Muon for inner matrices, AdamW for the rest, one cosine schedule."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

CLIP = 1.0


def _is_inner(name: str) -> bool:
    return any(part in f".{name}" for part in (".layers.", ".blocks.", ".merger."))


def optimizers_of(modules: Sequence[Any], learning_rate: float, steps: int) -> list[tuple[Any, Any]]:
    """Muon and AdamW over the trainable weights of modules, each with its schedule.

    Args:
        modules: torch modules.
        learning_rate: that of Muon; AdamW has a tenth of it. Both rise over the first twentieth of the steps and fall
            along a cosine to a hundredth.
        steps: training steps.
    """
    import torch

    named = [(name, weight) for module in modules for name, weight in module.named_parameters() if weight.requires_grad]
    inner = [weight for name, weight in named if _is_inner(name) and weight.ndim == 2]
    outer = [weight for name, weight in named if not (_is_inner(name) and weight.ndim == 2)]
    warmup = max(1, steps // 20)

    def factor(step: int) -> float:
        return min((step + 1) / warmup, 0.505 + 0.495 * float(np.cos(np.pi * step / steps)))

    optimizers = (
        torch.optim.Muon(inner, lr=learning_rate, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(outer, lr=learning_rate / 10, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    )
    return [(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)) for optimizer in optimizers]


def step_all(optimizers: Iterable[tuple[Any, Any]], weights: Sequence[Any]) -> None:
    """Clip the gradients, make one step of all optimizers and schedules, and clear the gradients."""
    import torch

    torch.nn.utils.clip_grad_norm_(weights, CLIP)
    for optimizer, schedule in optimizers:
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
