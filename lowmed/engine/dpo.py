"""DPO, mDPO and SimPO: TRL's DPO trainer with lowmed's loss. Each prompt is read once for its completions."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from trl import DPOConfig, DPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import use_adapter

from lowmed.engine import argument_names, chat
from lowmed.engine.job import TrainingJob
from lowmed.engine.preference_rows import Batch, PreferenceCollator, alter, pair_of_row
from lowmed.engine.prefix import decode, packing
from lowmed.engine.prefix.sampling import unwrapped
from lowmed.engine.resumable import LoadsTrainedAdapter
from lowmed.errors import SetupError
from lowmed.methods import DpoSpec

REFERENCE = "ref"  # TRL's name of the copy of the initial adapter


def build(job: TrainingJob) -> "PreferenceTrainer":
    """The trainer of a run. Its dataset has the columns `images` and `row`.

    Raises:
        SetupError: the model was loaded by unsloth.
    """
    method, loaded, rows = job.recipe.method, job.loaded, job.rows
    assert isinstance(method, DpoSpec)
    if loaded.backend == "unsloth":
        raise SetupError("DPO runs with transformers only", "model.backend", "use model.backend=transformers")
    family = job.recipe.prompts.training
    shares_prompts = decode.supports(unwrapped(loaded.model))
    if not shares_prompts and (loaded.vision_cache or loaded.family.text_only):  # else stated when it was loaded
        logging.getLogger("lowmed").warning(
            f"prompts are not shared for `{loaded.model.config.model_type}`: every completion reads its own prompt"
        )
    altered = alter(rows, method.altered_image, job.data_split, loaded.policy, family) if method.altered_image else None
    checkpointing = job.arguments["gradient_checkpointing"]
    trainer = PreferenceTrainer(
        model=loaded.model,
        args=DPOConfig(
            beta=method.beta,
            max_length=None,  # truncation would cut image tokens
            train_sampling_strategy="sequential",  # the rows are in training order already
            # The forward pass over shared prompts does its own checkpointing.
            **argument_names.training_arguments(
                job.arguments | {"gradient_checkpointing": checkpointing and not shares_prompts}
            ),
        ),
        train_dataset=job.dataset,
        processing_class=chat.with_prefill(loaded.processor, family),
        data_collator=PreferenceCollator(
            loaded,
            family,
            rows,
            pair_of_row(rows, job.data_split.pairs),
            altered,
            shared_prompts=shares_prompts,
        ),
    )
    trainer.method = method
    trainer.shares_prompts = shares_prompts
    trainer.checkpoints_layers = checkpointing
    if job.recipe.lora.start is None or not method.keeps_reference:  # the base is the reference of a new adapter
        trainer.model.delete_adapter(REFERENCE)
    return trainer


class PreferenceTrainer(LoadsTrainedAdapter, DPOTrainer):  # type: ignore[misc]  # trl is untyped
    """TRL's trainer with the terms of mDPO and SimPO, and less work.

    It overrides these methods of TRL and transformers:
    - `_compute_loss`: the loss of the recipe, from the log-probabilities of a batch of `PreferenceCollator`.
    - `_prepare_dataset`: the collator tokenizes.
    - `_prepare_input`: pixels stay in main memory. The vision cache moves those that it encodes.
    """

    method: DpoSpec
    shares_prompts: bool
    checkpoints_layers: bool

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _prepare_input(self, data: Any) -> Any:
        if not self.shares_prompts or not isinstance(data, Mapping) or "pixel_values" not in data:
            return super()._prepare_input(data)
        others = {name: value for name, value in data.items() if name != "pixel_values"}
        return {**super()._prepare_input(others), "pixel_values": data["pixel_values"]}

    def _compute_loss(self, model: Any, inputs: Batch, return_outputs: bool = False) -> torch.Tensor:
        del return_outputs  # only for TRL's own evaluation
        inputs = dict(inputs)
        altered, mask = inputs.pop("altered"), inputs["completion_mask"]
        # The reference first: its pass keeps no activations next to those of the policy.
        reference = self._reference_log_probs(inputs) if self.method.keeps_reference else None
        log_probs, entropy = self._log_probs(model, inputs)
        policy = log_probs.sum(dim=1)
        if reference is None:
            losses, rewards = simpo(policy / mask.sum(dim=1), self.method)
        else:
            losses, rewards = mdpo(policy - reference, altered, self.method)
        self._record(rewards, policy, altered, entropy.sum() / mask.sum())
        return losses.mean()

    @torch.no_grad()
    def _reference_log_probs(self, inputs: Batch) -> torch.Tensor:
        model = self.accelerator.unwrap_model(self.model)
        name = REFERENCE if REFERENCE in model.peft_config else None  # None: the adapter is off
        with (
            use_adapter(model, name),
            disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs),
        ):
            log_probs, _entropy = self._log_probs(self.model, inputs)
        return log_probs.sum(dim=1)

    def _log_probs(self, model: Any, inputs: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability and entropy of each token of the completions, both [completions, tokens], 0 elsewhere."""
        inputs = dict(inputs)
        mask = inputs.pop("completion_mask")
        if self.shares_prompts:
            return packing.log_probs(
                model,
                inputs,
                mask.shape[1],
                temperature=1.0,
                gradient_checkpointing=self.checkpoints_layers,
                autocast=self.accelerator.autocast(),
            )
        labels = inputs["input_ids"].masked_fill(mask == 0, -100)
        with self.accelerator.autocast():
            outputs = model(**inputs, labels=labels, fused_lm_head=True, use_cache=False)
        return outputs.log_probs, outputs.entropy

    def _record(
        self, rewards: torch.Tensor, policy: torch.Tensor, altered: torch.Tensor, entropy: torch.Tensor
    ) -> None:
        """Add the figures of a forward pass to the metrics of the step, under TRL's names."""
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
        values = torch.stack([value.detach().float() for value in figures.values()]).tolist()  # one transfer
        for name, value in zip(figures, values, strict=True):
            self._metrics["train"][name].append(value)


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
