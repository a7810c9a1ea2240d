"""GRPO: TRL's trainer with the recipe's settings. Each prompt is read once, and rows without a gradient are skipped."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict

from lowmed.engine import argument_names, chat, image_ratio, out_of_memory, row_selection
from lowmed.engine.agreement import Agreement
from lowmed.engine.device import kl_reference_error
from lowmed.engine.ema_adapter import ema_adapter
from lowmed.engine.job import TrainingJob
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import decode, packing
from lowmed.engine.prefix.decoder import Decoder
from lowmed.engine.prefix.sampling import Sampling, deduplicate, unwrapped
from lowmed.engine.resumable import ResumableTrainer
from lowmed.engine.rollouts import RewardFunction, reward_functions
from lowmed.engine.row_selection import Inputs
from lowmed.engine.sampler import Sampler
from lowmed.methods import GrpoSpec
from lowmed.plan.workload import Batch


def build(job: TrainingJob) -> GRPOTrainer:
    """The trainer of a run, with its reward functions. Its dataset has the columns `prompt`, `images` and `row`."""
    method, loaded = job.recipe.method, job.loaded
    assert isinstance(method, GrpoSpec)
    family = job.recipe.prompts.training
    ema = ema_adapter(job.rewards, loaded, job.rows, family, job.size.per_device_train_batch_size)
    functions = reward_functions(
        job.rewards,
        job.rows,
        loaded.end_ids,
        job.run,
        completion_format=family.completion_format,
        canary_steps=method.canary_steps,
        steps_per_batch=method.steps_per_batch,
        measures={"likelihood": ema.likelihood if ema else None, "image_log_ratio": image_ratio.for_job(job)},
        opening=chat.assistant_start(loaded.processor, family).opening,
    )
    trainer = build_trainer(
        method,
        replace(loaded, processor=chat.with_prefill(loaded.processor, family)),
        job.dataset,
        functions,
        job.arguments,
        job.size,
    )
    if isinstance(trainer, SharedPrefixTrainer):
        trainer.sampler.rows_per_draw = job.run.record.rows_per_draw
        trainer.sampler.sample_less = partial(out_of_memory.sample_less, job.run, job.log)
    if ema:
        trainer.add_callback(ema)
    return trainer


def build_trainer(
    method: GrpoSpec,
    loaded: Loaded,
    dataset: Any,
    functions: list[RewardFunction],
    common: dict[str, Any],
    size: Batch,
) -> GRPOTrainer:
    """The trainer: `SharedPrefixTrainer` for families that support it, otherwise TRL's own with a correction.

    Args:
        method: settings of the recipe.
        loaded: model with its adapter, and processor.
        dataset: columns `prompt`, `images`, `row`, already in training order.
        functions: one for each reward, in the recipe's order.
        common: the training arguments that all methods share.
        size: how a step is divided into passes.

    Raises:
        RecipeError: unsloth would measure the KL term from the base instead of the starting adapter.
    """
    shares_prefix = loaded.backend != "unsloth" and decode.supports(unwrapped(loaded.model))
    gradient_checkpointing = common["gradient_checkpointing"]
    arguments = GRPOConfig(
        num_generations=method.num_generations,
        max_completion_length=method.max_completion_length,
        temperature=method.temperature,
        beta=method.beta,
        epsilon=method.epsilon,
        epsilon_high=method.epsilon_high,
        num_iterations=method.num_iterations,
        loss_type=method.loss_type,
        scale_rewards=method.scale_rewards,
        multi_objective_aggregation=method.multi_objective_aggregation,
        reward_weights=[reward.weight for reward in method.rewards],
        mask_truncated_completions=method.mask_truncated_completions,
        shuffle_dataset=False,  # the rows are in training order already
        # A sampled image token would fail the next forward pass: https://github.com/huggingface/trl/issues/3847
        generation_kwargs={"suppress_tokens": loaded.suppressed},
        log_completions=False,  # rollouts.jsonl has them all, and TRL's table would copy the images
        # The forward pass over shared prompts does its own checkpointing.
        **argument_names.training_arguments(
            common | {"gradient_checkpointing": gradient_checkpointing and not shares_prefix}
        ),
    )
    options = {
        "model": loaded.model,
        "reward_funcs": list(functions),
        "args": arguments,
        "train_dataset": dataset,
        "processing_class": loaded.processor,
    }
    if loaded.backend == "unsloth":  # it rewrites TRL's trainer and the layers
        trainer = GRPOTrainer(**options)
        _check_kl_reference(trainer)
        return trainer
    if not shares_prefix:
        if loaded.vision_cache or loaded.family.text_only:  # otherwise this was stated when the model was loaded
            logging.getLogger("lowmed").warning(
                f"prompts are not shared for `{loaded.model.config.model_type}`: every completion reads its own prompt"
            )
        return ResumableTrainer(**options)
    trainer = SharedPrefixTrainer(**options)
    sampling = Sampling(
        method.max_completion_length,
        method.temperature,
        loaded.suppressed,
        trainer.eos_token_ids,
        Decoder(loaded.uses_cuda_graphs, size.keeps_kv_cache, size.dequantizes_rollouts),
    )
    trainer.sampler = Sampler(sampling, size.rows_per_generate)
    trainer.agreement = Agreement()
    trainer.gradient_checkpointing = gradient_checkpointing
    trainer.skip_zero_variance = method.skip_zero_variance_groups and method.beta == 0
    return trainer


def _check_kl_reference(trainer: GRPOTrainer) -> None:
    """Check that a KL term is measured from the base: unsloth leaves out TRL's copy of the starting adapter.

    Raises:
        RecipeError: the starting adapter is not zero.
    """
    weights = trainer.model.named_parameters()
    if trainer.beta and any(weight.any() for name, weight in weights if "lora_B.default" in name):
        raise kl_reference_error()


class SharedPrefixTrainer(ResumableTrainer):
    """TRL's trainer with the same results and less work.

    It overrides these methods of TRL and transformers:
    - `_tokenize_prompts` and `_generate_single_turn`: a prompt is tokenized, processed and read by the model once, not
      once for each completion.
    - `_prepare_input`: pixels stay in main memory. The vision cache moves those that it encodes.
    - `_prepare_inputs` and `_compute_loss`: rows without a gradient skip the forward pass. The other rows of a batch
      are sorted by length instead of shuffled, which saves padding. All count in the same optimizer step.
    - `_get_per_token_logps_and_entropies`: completions are scored with each prompt read once.
    """

    sampler: Sampler
    agreement: Agreement
    skip_zero_variance: bool
    gradient_checkpointing: bool
    _sampled_at: int  # the step before which the present completions were sampled
    _log_probs: torch.Tensor  # of the last forward pass
    _buffered_inputs: list[Inputs] | None

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], list[Any] | None, Inputs]:
        first_rows, prompt_of_row = deduplicate([_content(messages) for messages in prompts])
        ids, images, fields = super()._tokenize_prompts([prompts[row] for row in first_rows])
        num_images = [len(some or ()) for some in images] if images else [0] * len(ids)
        # TRL gives None for a prompt without images, which processors refuse next to prompts with images.
        images_of_row = [images[prompt] or [] for prompt in prompt_of_row] if images else None
        fields = {**fields, "prompt_of_row": prompt_of_row, "num_images": num_images}
        return [ids[prompt] for prompt in prompt_of_row], images_of_row, fields

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Inputs, num_generations: int, **_: Any
    ) -> tuple[list[list[int]], list[list[float]]]:
        del images, num_generations  # the fields contain both
        prompt_of_row = multimodal_fields["prompt_of_row"]
        fields = split_pixel_values_by_grid(multimodal_fields)

        def inputs_of(rows: list[int]) -> dict[str, torch.Tensor]:
            return self._pad_prompts([prompt_ids[row] for row in rows], fields, [prompt_of_row[row] for row in rows])

        self._sampled_at = self.state.global_step
        return self.sampler.completions(self.model, prompt_of_row, inputs_of, self._sampled_at)

    def _pad_prompts(self, ids: list[list[int]], fields: Inputs, prompts: list[int]) -> dict[str, torch.Tensor]:
        """The model inputs of some of the distinct prompts, padded on the left."""
        device = self.accelerator.device
        longest = max(map(len, ids))

        def pad(rows: list[list[int]], value: int) -> torch.Tensor:
            return torch.tensor([[value] * (longest - len(row)) + list(row) for row in rows], device=device)

        inputs = {
            "input_ids": pad(ids, self._tokenizer.pad_token_id),
            "attention_mask": pad([[1] * len(row) for row in ids], 0),
        }
        if "mm_token_type_ids" in fields:
            inputs["mm_token_type_ids"] = pad([fields["mm_token_type_ids"][prompt] for prompt in prompts], 0)
        for name in packing.IMAGE_INPUTS:
            if name in fields and any(fields["num_images"][prompt] for prompt in prompts):
                inputs[name] = torch.cat([fields[name][prompt] for prompt in prompts])
        if "image_grid_thw" in inputs:
            inputs["image_grid_thw"] = inputs["image_grid_thw"].to(device)
        return inputs

    def _prepare_input(self, data: Any) -> Any:
        if not isinstance(data, Mapping) or "pixel_values" not in data:
            return super()._prepare_input(data)
        others = {name: value for name, value in data.items() if name != "pixel_values"}
        return {**super()._prepare_input(others), "pixel_values": data["pixel_values"]}

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            lengths = batch["completion_mask"].sum(dim=1)
            zero_variance = row_selection.zero_variance_rows(batch["advantages"], self.num_generations)
            skipped = (zero_variance | (lengths == 0)) & self.skip_zero_variance
            metrics = self._metrics["train"]
            metrics["frac_reward_zero_std"][-1] = zero_variance.float().mean().item()  # TRL's value ignores rounding
            metrics["trained"].append(1 - skipped.float().mean().item())
            batch["skipped"] = skipped.cpu()  # on the CPU, because every forward pass branches on it
            order = row_selection.forward_order(batch["skipped"], lengths.cpu(), self.num_generations)
            batch = row_selection.split_images_by_row(batch, self.num_generations)
            self._buffered_inputs = split_tensor_dict(row_selection.select_rows(batch, order), steps)
        return self._buffered_inputs[self._step % steps]

    def _compute_loss(self, model: Any, inputs: Inputs) -> torch.Tensor:
        if "skipped" not in inputs:
            return super()._compute_loss(model, inputs)  # type: ignore[no-any-return]
        rows = torch.nonzero(~inputs["skipped"]).squeeze(1).tolist()
        if len(rows) == 0:  # zero gradients as from TRL, so that the optimizer's momentum decays alike
            return sum(weight.sum() * 0.0 for weight in model.parameters() if weight.requires_grad)  # type: ignore[no-any-return]
        batch = {name: value for name, value in inputs.items() if name != "skipped"}
        selected = row_selection.select_rows(batch, rows)
        loss = super()._compute_loss(model, selected)
        if self.state.global_step == self._sampled_at:  # before an optimizer step the model is the one that sampled
            self.agreement.record(self._metrics["train"], selected, self._log_probs)
        share_of_rows = len(rows) / len(inputs["skipped"])
        tokens = inputs["completion_mask"].sum().clamp(min=1)
        share_of_tokens = selected["completion_mask"].sum() / tokens
        # TRL averages over the rows or tokens of the forward pass, where skipped ones must count too. The divisor of
        # dapo is that of the whole step.
        return loss * {"dapo": 1.0, "bnpo": share_of_tokens}.get(self.loss_type, share_of_rows)  # type: ignore[no-any-return]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **others: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        names = (*packing.IMAGE_INPUTS, "num_images", "mm_token_type_ids")
        inputs = {name: value for name, value in others.items() if name in names and value is not None}
        if isinstance(inputs.get("pixel_values"), torch.Tensor):
            inputs = split_pixel_values_by_grid(inputs)
        inputs |= {"input_ids": input_ids, "attention_mask": attention_mask}
        rows = range(len(input_ids))
        batches = [
            packing.log_probs(
                model,
                row_selection.select_rows(inputs, rows[start : start + (batch_size or len(rows))]),
                logits_to_keep,
                temperature=self.temperature,
                gradient_checkpointing=self.gradient_checkpointing,
                autocast=self.accelerator.autocast(),
            )
            for start in range(0, len(rows), batch_size or len(rows))
        ]
        log_probs, entropies = (torch.cat(values) for values in zip(*batches, strict=True))
        self._log_probs = log_probs.detach()
        return log_probs, entropies, None


def _content(messages: list[Any]) -> tuple[Any, ...]:
    """A key that is equal for equal prompts only: every text, and every pixel of every image."""
    if all(isinstance(message["content"], str) for message in messages):  # of a text-only model
        return tuple((message["role"], message["content"]) for message in messages)
    parts = [part for message in messages for part in (message["role"], *message["content"])]
    return tuple(
        part
        if isinstance(part, str)
        else (part["image"].mode, part["image"].size, part["image"].tobytes())
        if part["type"] == "image"
        else part["text"]
        for part in parts
    )
