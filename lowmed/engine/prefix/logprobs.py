"""TRL's log-probability kernel without Triton, for machines without a GPU.

`patches.use_torch_log_probs` replaces TRL's kernel with it. The arguments are the same.
"""

from typing import Any

import torch
import trl.trainer.utils

SUPPORTED_OUTPUTS = {"log_probs", "entropy", "mean_logits", "is_top1"}


class TorchLogProb:
    """Log-probabilities of tokens under `hidden @ weight.T`, like `trl.kernels.ChunkedLogProbFunction`."""

    @staticmethod
    def apply(
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        chunk_size: int,
        final_logit_softcapping: float | None = None,
        logit_scale: float = 1.0,
        outputs: tuple[str, ...] = ("log_probs",),
    ) -> tuple[torch.Tensor | None, ...]:
        """The log-probability of each target, and the entropy if requested.

        Args:
            hidden: [tokens, width].
            weight: [vocabulary, width] of the language-model head.
            bias: [vocabulary] or None.
            targets: [tokens], token ids.
            temperature: divisor of the logits.
            chunk_size: chunk size of the kernel; unused here.
            final_logit_softcapping: must be None.
            logit_scale: factor of the logits.
            outputs: names of the results to compute; the others are None.

        Returns:
            log_probs, entropy, None, mean_logits (over the vocabulary) and is_top1 (whether the target is the most
            likely token), each [tokens]. The None stands for the log-sum of squared probabilities, which no method of
            lowmed uses.

        Raises:
            ValueError: an output or option is not supported.
        """
        del chunk_size
        unsupported = set(outputs) - SUPPORTED_OUTPUTS
        if unsupported or final_logit_softcapping is not None:
            raise ValueError(f"not supported without Triton: {sorted(unsupported) or 'softcapped logits'}")
        logits = torch.nn.functional.linear(hidden, weight.to(hidden.dtype), bias).float() * (logit_scale / temperature)
        over_vocabulary = torch.log_softmax(logits, dim=-1)
        log_probs = over_vocabulary.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        entropy = _Entropy.apply(over_vocabulary) if "entropy" in outputs else None
        with torch.no_grad():  # logged only
            mean_logits = logits.mean(-1) if "mean_logits" in outputs else None
            is_top1 = over_vocabulary.argmax(-1) == targets if "is_top1" in outputs else None
        return log_probs, entropy, None, mean_logits, is_top1


class _Entropy(torch.autograd.Function):
    """Entropy of log-probabilities over the last dimension. It keeps no tensors of its own for the backward pass."""

    @staticmethod
    def forward(ctx: Any, log_probs: torch.Tensor) -> torch.Tensor:
        """The entropy in nats."""
        ctx.save_for_backward(log_probs)
        ctx.set_materialize_grads(False)
        return -(log_probs.exp() * log_probs).sum(-1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor | None) -> torch.Tensor | None:
        """-p (1 + log p) for each log-probability; None where no loss uses the entropy."""
        [log_probs] = ctx.saved_tensors
        return None if gradient is None else -gradient.unsqueeze(-1) * log_probs.exp() * (1 + log_probs)


def target_log_probs(
    head: Any, hidden: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target and entropy of its distribution, by TRL's kernel or its replacement.

    Args:
        head: the language-model head.
        hidden: [tokens, width], the last hidden states before the targets.
        targets: [tokens], token ids.
        temperature: divisor of the logits.

    Returns:
        Both [tokens], 32-bit.
    """
    chunk = trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE
    kernel = trl.trainer.utils._ChunkedLogProbFunction
    outputs = ("log_probs", "entropy")
    log_probs, entropy, *_ = kernel.apply(
        hidden, head.weight, head.bias, targets, temperature, chunk, None, 1.0, outputs
    )
    return log_probs, entropy
