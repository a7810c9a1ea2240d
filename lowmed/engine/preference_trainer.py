"""What the trainers of DPO and KTO share: log-probabilities of completions under policy and reference."""

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from trl import DPOConfig, DPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import use_adapter

from lowmed.engine import argument_names, chat, device
from lowmed.engine.completion_batch import Batch, CompletionCollator
from lowmed.engine.data_parallel import DataParallel
from lowmed.engine.job import TrainingJob
from lowmed.engine.prefix import decode, packing
from lowmed.engine.prefix.sampling import unwrapped
from lowmed.engine.resumable import LoadsTrainedAdapter
from lowmed.methods.preference import PreferenceSpec

REFERENCE = "ref"  # TRL's name of the copy of the initial adapter


class PreferenceTrainer(DataParallel, LoadsTrainedAdapter, DPOTrainer):  # type: ignore[misc]  # trl is untyped
    """TRL's trainer for completions from a file, with the loss of a subclass. Each prompt is read once.

    It overrides these methods of TRL and transformers:
    - `_prepare_dataset`: the collator tokenizes.
    - `_prepare_input`: pixels stay in main memory. The vision cache moves those that it encodes.
    - `get_train_dataloader`: batches stay there until they are used. accelerate moves all those of a step to the GPU.
    """

    method: Any  # the settings of the method
    shares_prompts: bool
    checkpoints_layers: bool

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _prepare_input(self, data: Any) -> Any:
        if not self.shares_prompts or not isinstance(data, Mapping) or "pixel_values" not in data:
            return super()._prepare_input(data)
        others = {name: value for name, value in data.items() if name != "pixel_values"}
        return {**super()._prepare_input(others), "pixel_values": data["pixel_values"]}

    def get_train_dataloader(self) -> Any:
        """The batches of the run, as in transformers."""
        loader = super().get_train_dataloader()
        loader.device = None  # `_prepare_inputs` moves each batch
        return loader

    @torch.no_grad()
    def scored(self, inputs: Batch, *, reference: bool) -> torch.Tensor:
        """Log-probability of each completion [completions], without gradients.

        Args:
            inputs: as of `CompletionCollator.encode`.
            reference: under the reference; else under the policy.
        """
        model = self.accelerator.unwrap_model(self.model)
        name = REFERENCE if REFERENCE in model.peft_config else None  # None: the adapter is off
        with (
            use_adapter(model, name) if reference else nullcontext(),
            disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs),
        ):
            log_probs, _entropy = self.log_probs(self.model, inputs)
        return log_probs.sum(dim=1)

    def log_probs(self, model: Any, inputs: Batch) -> tuple[torch.Tensor, torch.Tensor]:
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

    def record(self, figures: Mapping[str, torch.Tensor]) -> None:
        """Add the figures of a forward pass to the metrics of the step, which are means over its passes."""
        values = torch.stack([value.detach().float() for value in figures.values()]).tolist()  # one transfer
        for name, value in zip(figures, values, strict=True):
            self._metrics["train"][name].append(value)


Trainer = TypeVar("Trainer", bound=PreferenceTrainer)


def build_trainer(
    kind: type[Trainer], job: TrainingJob, make_collator: Callable[[bool], CompletionCollator]
) -> Trainer:
    """The trainer of a run. Its dataset has the columns `images` and `row`.

    Args:
        kind: the class of the trainer.
        job: the run.
        make_collator: makes the batches; its argument is whether prompts are shared.

    Raises:
        RecipeError: the model was loaded by unsloth.
    """
    method, loaded = job.recipe.method, job.loaded
    assert isinstance(method, PreferenceSpec)
    if loaded.backend == "unsloth":
        raise device.transformers_only_error(job.recipe)
    shares_prompts = decode.supports(unwrapped(loaded.model))
    if not shares_prompts and (loaded.vision_cache or loaded.family.text_only):  # else stated when it was loaded
        logging.getLogger("lowmed").warning(
            f"prompts are not shared for `{loaded.model.config.model_type}`: every completion reads its own prompt"
        )
    checkpointing = job.arguments["gradient_checkpointing"]
    trainer = kind(
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
        processing_class=chat.with_prefill(loaded.processor, job.recipe.prompts.training),
        data_collator=make_collator(shares_prompts),
    )
    trainer.method = method
    trainer.shares_prompts = shares_prompts
    trainer.checkpoints_layers = checkpointing
    if job.recipe.lora.start is None or not method.keeps_reference:  # the base is the reference of a new adapter
        trainer.model.delete_adapter(REFERENCE)
    return trainer
