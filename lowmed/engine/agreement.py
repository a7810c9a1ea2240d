"""Whether completions come from the model that is trained: their log-probabilities in sampling and in training."""

import logging
from typing import Any

import torch

MEAN = "sampling/sampling_logp_difference/mean"  # the names of TRL's metrics for vLLM
MAX = "sampling/sampling_logp_difference/max"
# Nats. nano in bf16 on a CPU has up to 0.0004. GRPO takes the completions for samples of the trained model.
LARGE_MEAN = 0.1


class Agreement:
    """Compares sampling and training of a run, and states a large difference once."""

    def __init__(self) -> None:
        self._stated = False

    def record(self, metrics: dict[str, list[float]], inputs: dict[str, Any], log_probs: torch.Tensor) -> None:
        """Record how far the log-probabilities of tokens in training are from those in sampling.

        Args:
            metrics: the trainer's metrics of this step.
            inputs: rows of a batch, with `sampling_per_token_logps` and `completion_mask` [rows, tokens].
            log_probs: [rows, tokens], by the trained model, before an optimizer step.
        """
        mask = inputs["completion_mask"].bool()
        if not mask.any():
            return
        difference = (log_probs - inputs["sampling_per_token_logps"]).abs()[mask]
        mean, largest = difference.mean().item(), difference.max().item()
        if mean > LARGE_MEAN and not self._stated:
            self._stated = True
            logging.getLogger("lowmed").warning(
                f"sampled tokens have other log-probabilities in training: {mean:.2f} nats on average. Try "
                "model.rollout=transformers and model.rollout_dtype=same, and report it if that helps"
            )
        metrics.setdefault(MEAN, []).append(mean)
        metrics[MAX] = [max([largest, *metrics.get(MAX, [])])]
