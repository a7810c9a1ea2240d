"""DPO, mDPO and SimPO: the loss on pairs of completions."""

from typing import Any

import torch
from torch.nn.functional import logsigmoid

from lowmed.engine.completion_batch import Batch, of_each_row
from lowmed.engine.job import TrainingJob
from lowmed.engine.preference_rows import PreferenceCollator, alter
from lowmed.engine.preference_trainer import PreferenceTrainer, build_trainer
from lowmed.methods import DpoSpec


def build(job: TrainingJob) -> "DpoTrainer":
    """The trainer of a run.

    Raises:
        RecipeError: the model was loaded by unsloth.
    """
    method, loaded, rows = job.recipe.method, job.loaded, job.rows
    assert isinstance(method, DpoSpec)
    family, control = job.recipe.prompts.training, method.altered_image

    def collator(shared_prompts: bool) -> PreferenceCollator:
        altered = alter(rows, control, job.data_split, loaded.policy, family) if control else None
        pairs = of_each_row(rows, job.data_split.pairs)
        return PreferenceCollator(loaded, family, rows, pairs, altered, shared_prompts=shared_prompts)

    return build_trainer(DpoTrainer, job, collator)


class DpoTrainer(PreferenceTrainer):
    """The trainer with the terms of mDPO and SimPO."""

    method: DpoSpec

    def _compute_loss(self, model: Any, inputs: Batch, return_outputs: bool = False) -> torch.Tensor:
        del return_outputs  # only for TRL's own evaluation
        inputs = dict(inputs)
        altered, mask = inputs.pop("altered"), inputs["completion_mask"]
        # The reference first: its pass keeps no activations next to those of the policy.
        reference = self.scored(inputs, reference=True) if self.method.keeps_reference else None
        log_probs, entropy = self.log_probs(model, inputs)
        policy = log_probs.sum(dim=1)
        if reference is None:
            losses, rewards = simpo(policy / mask.sum(dim=1), self.method)
        else:
            losses, rewards = mdpo(policy - reference, altered, self.method)
        self._record(rewards, policy, altered, entropy.sum() / mask.sum())
        return losses.mean()

    def _record(
        self, rewards: torch.Tensor, policy: torch.Tensor, altered: torch.Tensor, entropy: torch.Tensor
    ) -> None:
        """Record the figures of a forward pass under TRL's names."""
        chosen, rejected, other = _parts(rewards.detach(), altered)
        figures = {
            "entropy": entropy,
            "rewards/chosen": chosen.mean(),
            "rewards/rejected": rejected.mean(),
            "rewards/margins": (chosen - rejected).mean(),
            "rewards/accuracies": (chosen > rejected).float().mean(),
            "logps/chosen": policy[: len(chosen)].mean(),
            "logps/rejected": policy[len(chosen) : 2 * len(chosen)].mean(),
        }
        if len(altered):
            figures["rewards/image_margins"] = (chosen[altered] - other).mean()
            figures["rewards/image_accuracies"] = (chosen[altered] > other).float().mean()
        self.record(figures)


def mdpo(ratios: torch.Tensor, altered: torch.Tensor, method: DpoSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of mDPO (arXiv:2406.11839), which without its two weights is that of DPO (arXiv:2305.18290).

    With r = beta * log(policy / reference), the terms are -log sigmoid of r(chosen) - r(rejected), of r(chosen) -
    r(chosen with the altered image), and of r(chosen).

    Args:
        ratios: [completions], log(policy / reference) of B chosen completions, B rejected ones and the altered ones.
        altered: the pairs that the altered ones belong to. The others have no term for the image.
        method: beta and the weights.

    Returns:
        The loss of each pair [B], and r [completions].
    """
    rewards = method.beta * ratios
    chosen, rejected, other = _parts(rewards, altered)
    losses = -logsigmoid(chosen - rejected)
    if len(altered):
        image = -logsigmoid(chosen[altered] - other)
        losses = losses.index_add(0, altered, method.image_weight * image)
    if method.anchor_weight:
        losses = losses - method.anchor_weight * logsigmoid(chosen)
    return losses, rewards


def simpo(means: torch.Tensor, method: DpoSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of SimPO (arXiv:2405.14734): -log sigmoid of beta * (mean chosen - mean rejected) - gamma.

    Args:
        means: [completions], mean log-probability of a token of B chosen and B rejected completions.
        method: beta and gamma.

    Returns:
        The loss of each pair [B], and beta * means.
    """
    rewards = method.beta * means
    chosen, rejected = rewards.chunk(2)
    return -logsigmoid(chosen - rejected - method.simpo_gamma), rewards


def _parts(values: torch.Tensor, altered: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values of the chosen, the rejected, and the chosen completions with altered images."""
    pairs = (len(values) - len(altered)) // 2
    chosen, rejected, other = torch.split(values, [pairs, pairs, len(altered)])
    return chosen, rejected, other
