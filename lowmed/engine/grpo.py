"""GRPO: TRL's trainer with the recipe's settings; it reads a prompt once and forwards only what can move the model."""

import logging
from typing import Any

import torch
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict

from lowmed.engine import grpo_batch
from lowmed.engine.device import choose_rollout
from lowmed.engine.ema_adapter import ema_adapter
from lowmed.engine.grpo_batch import Inputs
from lowmed.engine.job import TrainingJob
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import decode, packing
from lowmed.engine.prefix import sampling as prefill
from lowmed.engine.prefix.decode_compiled import CompiledDecoder
from lowmed.engine.rollouts import RewardFunction, reward_functions
from lowmed.recipe import GrpoSpec


def build(job: TrainingJob) -> GRPOTrainer:
    """The trainer of a run, with its reward functions.

    Its data set has the columns `prompt`, `images` and `row`.
    """
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
        likelihood=ema.likelihood if ema else None,
    )
    compiled = choose_rollout(job.recipe.model, loaded.machine)[0] == "compiled"
    trainer = build_trainer(method, loaded, job.dataset, functions, job.arguments, job.size.rows_per_generate, compiled)
    if ema:
        trainer.add_callback(ema)
    return trainer


def build_trainer(
    method: GrpoSpec,
    loaded: Loaded,
    dataset: Any,
    functions: list[RewardFunction],
    common: dict[str, Any],
    rows_per_generate: int,
    compiled: bool = False,
) -> GRPOTrainer:
    """The trainer.

    Args:
        method: settings of the recipe.
        loaded: model with its adapter, and processor.
        dataset: columns `prompt`, `images`, `row`, already in training order.
        functions: one a reward, in the recipe's order.
        common: the training arguments that all methods share.
        rows_per_generate: most completions that are drawn at once.
        compiled: whether they are drawn by a compiled step.
    """
    own = loaded.backend != "unsloth" and decode.supports(prefill.unwrapped(loaded.model))
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
        shuffle_dataset=False,  # the rows stand in their order already
        generation_kwargs={"suppress_tokens": loaded.suppressed},
        log_completions=False,  # rollouts.jsonl holds them all; TRL's own table would copy the images
        **common
        | {"gradient_checkpointing": gradient_checkpointing and not own},  # the shared forward checkpoints itself
    )
    given = {
        "model": loaded.model,
        "reward_funcs": list(functions),
        "args": arguments,
        "train_dataset": dataset,
        "processing_class": loaded.processor,
    }
    if not own:  # another model's layers, or TRL's trainer rewritten by unsloth: this one's parts would not fit
        if loaded.backend != "unsloth":
            kind = loaded.model.config.model_type
            logging.getLogger("lowmed").warning(
                f"the layers of a {kind} are not known: every reply reads its own prompt"
            )
        return GRPOTrainer(**given)
    trainer = Trainer(**given)
    decoder = CompiledDecoder() if compiled else decode.Decoder()
    trainer.sampling = prefill.Sampling(
        method.max_completion_length, method.temperature, loaded.suppressed, trainer.eos_token_ids, decoder
    )
    trainer.rows_per_generate = rows_per_generate
    trainer.gradient_checkpointing = gradient_checkpointing
    trainer.drops_idle = method.skip_zero_variance_groups and method.beta == 0
    return trainer


class Trainer(GRPOTrainer):  # type: ignore[misc]  # trl is untyped
    """TRL's trainer, with three steps done otherwise to the same result.

    A prompt is tokenized, prepared and read by the model once, not once a completion. The rows of one batch of completions are
    sorted by length instead of shuffled, so that a forward pass holds little padding; they all count in the same
    optimizer step. And rows that cannot move the model stay out of its forward pass.
    """

    sampling: prefill.Sampling
    rows_per_generate: int
    drops_idle: bool
    gradient_checkpointing: bool
    _buffered_inputs: list[Inputs] | None

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], list[Any] | None, Inputs]:
        firsts, owners = prefill.deduplicate([_content(messages) for messages in prompts])
        ids, images, fields = super()._tokenize_prompts([prompts[place] for place in firsts])
        counts = [len(some or ()) for some in images] if images else [0] * len(ids)
        every = [images[owner] for owner in owners] if images else None
        return [ids[owner] for owner in owners], every, {**fields, "owners": owners, "num_images": counts}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Inputs, num_generations: int, **_: Any
    ) -> tuple[list[list[int]], None]:
        del images, num_generations  # what belongs to them stands in the fields
        owners = multimodal_fields["owners"]
        fields = split_pixel_values_by_grid(multimodal_fields)
        training = self.model.training
        self.model.eval()  # checkpointing of activations would drop the cache
        result: list[list[int]] = []
        try:
            for start in range(0, len(owners), self.rows_per_generate):
                firsts, chunk = prefill.deduplicate(owners[start : start + self.rows_per_generate])
                ids = [prompt_ids[start + place] for place in firsts]
                inputs = self._padded(ids, fields, [owners[start + place] for place in firsts])
                result += prefill.generate(self.model, inputs, chunk, self.sampling)
        finally:
            self.model.train(training)
        return result, None

    def _padded(self, ids: list[list[int]], fields: Inputs, prompts: list[int]) -> dict[str, torch.Tensor]:
        """The model inputs of some of the distinct prompts, padded on the left."""
        device = self.accelerator.device
        longest = max(map(len, ids))

        def left(rows: list[list[int]], fill: int) -> torch.Tensor:
            return torch.tensor([[fill] * (longest - len(row)) + list(row) for row in rows], device=device)

        inputs = {
            "input_ids": left(ids, self._tokenizer.pad_token_id),
            "attention_mask": left([[1] * len(i) for i in ids], 0),
        }
        if "mm_token_type_ids" in fields:
            inputs["mm_token_type_ids"] = left([fields["mm_token_type_ids"][prompt] for prompt in prompts], 0)
        for name in ("pixel_values", "image_grid_thw"):
            if name in fields and any(fields["num_images"][prompt] for prompt in prompts):
                inputs[name] = torch.cat([fields[name][prompt] for prompt in prompts]).to(device)
        return inputs

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            made = self._generate_and_score_completions(generation_batch)
            lengths = made["completion_mask"].sum(dim=1)
            settled = grpo_batch.zero_spread(made["advantages"], self.num_generations)
            made["idle"] = (settled | (lengths == 0)) & self.drops_idle
            self._metrics["train"]["frac_reward_zero_std"][-1] = settled.float().mean().item()  # TRL's misses rounding
            self._metrics["train"]["trained"].append(1 - made["idle"].float().mean().item())
            made["idle"] = made["idle"].cpu()  # asked about by the host in every forward pass
            sorted_rows = grpo_batch.forward_order(made["idle"], lengths.cpu(), self.num_generations)
            split = grpo_batch.by_row(made, self.num_generations)
            self._buffered_inputs = split_tensor_dict(grpo_batch.select_rows(split, sorted_rows), steps)
        return self._buffered_inputs[self._step % steps]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if "ref" in self.model.peft_config:  # having read this one in its own folder, transformers reads no other
            self.model.load_adapter(resume_from_checkpoint, "default", is_trainable=True)
            self.model.set_adapter("default")

    def _compute_loss(self, model: Any, inputs: Inputs) -> torch.Tensor:
        if "idle" not in inputs:
            return super()._compute_loss(model, inputs)  # type: ignore[no-any-return]
        moving = torch.nonzero(~inputs["idle"]).squeeze(1).tolist()
        if len(moving) == 0:  # no gradient, as TRL's own would be; the optimizer goes on
            return sum(weight.sum() * 0.0 for weight in model.parameters() if weight.requires_grad)  # type: ignore[no-any-return]
        kept = grpo_batch.select_rows({name: value for name, value in inputs.items() if name != "idle"}, moving)
        loss = super()._compute_loss(model, kept)
        rows = len(moving) / len(inputs["idle"])
        tokens = kept["completion_mask"].sum() / inputs["completion_mask"].sum().clamp(min=1)
        # TRL divides by what the forward pass held; what was left out must count too. dapo's divisor is the update's.
        return loss * {"dapo": 1.0, "bnpo": tokens}.get(self.loss_type, rows)  # type: ignore[no-any-return]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **others: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        inputs = {
            name: value
            for name, value in others.items()
            if name in (*packing.IMAGE_INPUTS, "num_images", "mm_token_type_ids") and value is not None
        }
        if isinstance(inputs.get("pixel_values"), torch.Tensor):
            inputs = split_pixel_values_by_grid(inputs)
        inputs |= {"input_ids": input_ids, "attention_mask": attention_mask}
        rows = range(len(input_ids))
        result = [
            packing.log_probs(
                model,
                grpo_batch.select_rows(inputs, rows[start : start + (batch_size or len(rows))]),
                logits_to_keep,
                temperature=self.temperature,
                gradient_checkpointing=self.gradient_checkpointing,
                autocast=self.accelerator.autocast(),
            )
            for start in range(0, len(rows), batch_size or len(rows))
        ]
        scores, entropies = (torch.cat(each) for each in zip(*result, strict=True))
        return scores, entropies, None


def _content(messages: list[Any]) -> tuple[Any, ...]:
    """Equal for equal prompts only: every text, and every pixel of every image."""
    parts = [part for message in messages for part in (message["role"], *message["content"])]
    return tuple(
        part
        if isinstance(part, str)
        else (part["image"].mode, part["image"].size, part["image"].tobytes())
        if part["type"] == "image"
        else part["text"]
        for part in parts
    )
