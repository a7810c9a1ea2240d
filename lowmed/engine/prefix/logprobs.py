"""TRL's log-probability kernel without Triton, for machines without a card.

On a CPU Triton runs in its interpreter, which takes nine tenths of an update. The same quantities in plain torch take
the same arguments, so the trainers do not notice.
"""

from typing import Any

import torch
import trl.trainer.utils

COMPUTED = {"log_probs", "entropy", "is_top1"}


class PlainLogProb:
    """Per-token log-probabilities of `hidden @ weight.T`, as `trl.kernels.ChunkedLogProbFunction` gives them."""

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
        """The log-probability of each target, and the entropy where asked.

        Args:
            hidden: [tokens, width].
            weight: [vocabulary, width] of the language-model head.
            bias: [vocabulary] or None.
            targets: [tokens], token ids.
            temperature: what the logits are divided by.
            chunk_size: of the kernel; not needed here.
            final_logit_softcapping: must be None; Qwen2-VL has none.
            logit_scale: what the logits are multiplied by.
            outputs: what is asked for; the rest is None.

        Returns:
            log_probs [tokens], entropy [tokens], two that Qwen2-VL's training never asks for, and is_top1 [tokens] (1
            where the target is the likeliest token); None for what was not asked.
        """
        del chunk_size
        unknown = set(outputs) - COMPUTED
        if unknown or final_logit_softcapping is not None:
            raise ValueError(f"not computed without Triton: {sorted(unknown) or 'softcapped logits'}")
        logits = torch.nn.functional.linear(hidden, weight.to(hidden.dtype), bias).float() * (logit_scale / temperature)
        every = torch.log_softmax(logits, dim=-1)
        log_probs = every.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        with torch.no_grad():  # both are logged, never trained on
            entropy = -(every.exp() * every).sum(-1) if "entropy" in outputs else None
            is_top1 = (every.argmax(-1) == targets).float() if "is_top1" in outputs else None
        return log_probs, entropy, None, None, is_top1


def use_plain_torch() -> None:
    """Put the plain form in the place of TRL's kernel."""
    trl.trainer.utils._ChunkedLogProbFunction = PlainLogProb


def of_targets(
    head: Any, hidden: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target and entropy of its distribution, by whichever kernel is in place.

    Args:
        head: the language-model head.
        hidden: [tokens, width], the last hidden states before the targets.
        targets: [tokens], token ids.
        temperature: what the logits are divided by.

    Returns:
        Both [tokens], 32-bit; the entropy is for the record alone.
    """
    chunk = trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE
    kernel = trl.trainer.utils._ChunkedLogProbFunction
    outputs = ("log_probs", "entropy")
    result = kernel.apply(hidden, head.weight, head.bias, targets, temperature, chunk, None, 1.0, outputs)
    return result[0], result[1]
