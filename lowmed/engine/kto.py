"""KTO: the loss on completions that are labeled good or bad, one by one."""

from typing import Any

import torch

from lowmed import processes
from lowmed.engine.completion_batch import Batch, of_each_row
from lowmed.engine.job import TrainingJob
from lowmed.engine.preference_trainer import PreferenceTrainer, build_trainer
from lowmed.engine.unpaired_rows import UnpairedCollator, mismatched_rows
from lowmed.methods import KtoSpec


def build(job: TrainingJob) -> "KtoTrainer":
    """The trainer of a run.

    Raises:
        RecipeError: the model was loaded by unsloth.
    """
    method, rows = job.recipe.method, job.rows
    assert isinstance(method, KtoSpec)

    def collator(shared_prompts: bool) -> UnpairedCollator:
        labeled = of_each_row(rows, job.data_split.unpaired)
        mismatched = mismatched_rows(rows, method.rows_per_step)
        family = job.recipe.prompts.training
        return UnpairedCollator(job.loaded, family, rows, labeled, mismatched, shared_prompts=shared_prompts)

    return build_trainer(KtoTrainer, job, collator)


class KtoTrainer(PreferenceTrainer):
    """The trainer with the loss of KTO.

    TRL's KTOTrainer estimates z0 within each forward pass, so it refuses passes of one row, and its result depends on
    their size, which depends on the GPU. Here z0 is a mean over all rows of the optimizer step, so that rows can be
    divided in any way. It overrides these methods of transformers:
    - `get_batch_samples`: keeps the batches of the step.
    - `training_step`: scores all of them before the first one is trained.
    """

    method: KtoSpec
    batches: list[Batch]

    def get_batch_samples(self, *args: Any, **options: Any) -> Any:
        """The batches of an optimizer step, as in transformers."""
        self.batches, count = super().get_batch_samples(*args, **options)
        return self.batches, count

    def training_step(self, model: Any, inputs: Batch, *args: Any, **options: Any) -> torch.Tensor:
        """Train on one batch of the step, as in transformers."""
        if "kl" not in inputs:
            self.score(self.batches)
        loss: torch.Tensor = super().training_step(model, inputs, *args, **options)
        return loss

    def score(self, batches: list[Batch]) -> None:
        """Add to the batches of a step what their losses need.

        They get `reference` [rows], the log-probabilities of their completions under the reference; `kl`, which is z0;
        and `per_batch`, the numbers of good completions, bad ones and tokens of the step, divided by its batches.
        """
        differences = []
        for batch in batches:
            inputs = self._prepare_inputs(batch)
            reference = torch.cat([self.scored(part, reference=True) for part in inputs["scored"]])
            batch["reference"], of_mismatched = reference.chunk(2)
            differences.append(self.scored(inputs["mismatched"], reference=False) - of_mismatched)
        labels = torch.cat([batch["label"] for batch in batches])
        good, tokens = int(labels.sum()), sum(int(batch["completion_mask"].sum()) for batch in batches)
        # Of the step, over all processes.
        difference = torch.cat(differences)
        counts = difference.new_tensor([float(difference.sum()), len(difference), good, len(labels), tokens])
        processes.sum_tensor(counts)
        total, rows, good, all_labels, tokens = counts.tolist()
        z0 = difference.new_tensor(total / rows).clamp(min=0)
        number = len(batches) * processes.size()
        for batch in batches:
            batch["kl"] = z0
            batch["per_batch"] = [count / number for count in (good, all_labels - good, tokens)]

    def _compute_loss(self, model: Any, inputs: Batch, return_outputs: bool = False) -> torch.Tensor:
        del return_outputs  # only for TRL's own evaluation
        inputs = {name: value for name, value in inputs.items() if name not in ("mismatched", "scored")}
        label, reference, z0 = (inputs.pop(name) for name in ("label", "reference", "kl"))
        *counts, tokens = inputs.pop("per_batch")
        log_probs, entropy = self.log_probs(model, inputs)
        policy = log_probs.sum(dim=1)
        losses, rewards = kto(policy - reference, label, z0, self.method)
        # A batch may lack one label. Sums are divided by the numbers per batch, so that their mean is that of the step.
        figures = {"entropy": entropy.sum() / tokens, "kl": z0}
        for name, count, rows in zip(("chosen", "rejected"), counts, (label, ~label), strict=True):
            if count:
                figures[f"rewards/{name}"] = rewards.detach()[rows].sum() / count
                figures[f"logps/{name}"] = policy[rows].sum() / count
        if all(counts):
            figures["rewards/margins"] = figures["rewards/chosen"] - figures["rewards/rejected"]
        self.record(figures)
        return losses.mean()


def kto(
    ratios: torch.Tensor, label: torch.Tensor, z0: torch.Tensor, method: KtoSpec
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of KTO, eq. (8) of arXiv:2402.01306.

    With r = log(policy / reference) it is w (1 - sigmoid of beta (r - z0)) for a good completion, and
    w (1 - sigmoid of beta (z0 - r)) for a bad one.

    Args:
        ratios: [rows], r.
        label: [rows], whether the completion is good.
        z0: the reference point, without gradient.
        method: beta and the weights w.

    Returns:
        The loss and beta * r of each completion, both [rows].
    """
    sign = torch.where(label, 1.0, -1.0)
    weights = torch.where(label, method.desirable_weight, method.undesirable_weight)
    return weights * (1 - torch.sigmoid(method.beta * sign * (ratios - z0))), method.beta * ratios
