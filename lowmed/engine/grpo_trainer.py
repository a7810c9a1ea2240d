"""TRL's GRPO trainer with each prompt read once, and with what the recipe adds to TRL's settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict

from lowmed import processes
from lowmed.engine import references, row_selection
from lowmed.engine.agreement import Agreement
from lowmed.engine.prefix import packing
from lowmed.engine.prefix.sampling import deduplicate
from lowmed.engine.references import References
from lowmed.engine.resumable import ResumableTrainer
from lowmed.engine.row_selection import Inputs
from lowmed.engine.sampler import Sampler
from lowmed.engine.vllm_server import VllmSampler
from lowmed.methods import GrpoSpec


class SharedPrefixTrainer(ResumableTrainer):
    """TRL's trainer with the same results and less work.

    It overrides these methods of TRL and transformers:
    - `_tokenize_prompts` and `_generate_single_turn`: a prompt is tokenized, processed and read by the model once, not
      once for each completion.
    - `_prepare_input`: pixels stay in main memory. The vision cache moves those that it encodes.
    - `_prepare_inputs` and `_compute_loss`: rows without a gradient skip the forward pass. The other rows of a batch
      are sorted by length instead of shuffled, which saves padding. All count in the same optimizer step.
    - `_calculate_rewards`: the weighted sums are kept for the next two.
    - `_get_per_token_logps_and_entropies`: completions are scored with each prompt read once.

    With several processes each one has all completions of a step, and forwards its share of them.

    Beyond TRL it has the settings of `GrpoSpec.own_trainer_settings`.
    """

    method: GrpoSpec
    sampler: Sampler | VllmSampler
    agreement: Agreement
    references: References | None
    gradient_checkpointing: bool
    spare_rows: range  # rows of the data set that replace groups without variance
    _sampled_at: int  # the step before which the present completions were sampled
    _log_probs: torch.Tensor  # of the last forward pass
    _rewards: torch.Tensor  # of the last sampled completions
    _references: Inputs | None = None  # rows of the forward pass in addition to those of TRL
    _reference_log_probs: torch.Tensor  # of the last forward pass with such rows
    _buffered_inputs: list[Inputs] | None

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], list[Any] | None, Inputs]:
        first_rows, prompt_of_row = deduplicate([_content(messages) for messages in prompts])
        ids, images, fields = super()._tokenize_prompts([prompts[row] for row in first_rows])
        self.sampler.prepare([prompts[row] for row in first_rows], ids)
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
            self._buffered_inputs = self._sample_batch(generation_batch, steps * processes.size())
        return self._buffered_inputs[self._step % steps * processes.size() + processes.place().rank]

    def _sample_batch(self, examples: list[Inputs], parts: int) -> list[Inputs]:
        """Sample and score the completions of a step, and divide them into forward passes."""
        batch = self._scored(examples)
        metrics = self._metrics["train"]
        if self.method.dynamic_sampling:
            of_scheduled = {name: list(values) for name, values in metrics.items()}
            batch = self._replace_groups(batch)
            # TRL would average over the calls. What replaced a group is chosen, so that it would raise the mean reward.
            metrics.update({name: values for name, values in of_scheduled.items() if name != "num_tokens"})
        lengths = batch["completion_mask"].sum(dim=1)
        zero_variance = row_selection.zero_variance_rows(batch["advantages"], self.num_generations)
        skips = self.method.skip_zero_variance_groups and not self.method.trains_every_row
        skipped = (zero_variance | (lengths == 0)) & skips
        metrics["frac_reward_zero_std"][-1] = zero_variance.float().mean().item()  # TRL's value ignores rounding
        metrics["trained"].append(1 - skipped.float().mean().item())
        batch["skipped"] = skipped.cpu()  # on the CPU, because every forward pass branches on it
        added = references.add(self.references, self.method, batch) if self.references else None
        order = row_selection.forward_order(batch["skipped"], lengths.cpu(), self.num_generations)
        batches: list[Inputs] = split_tensor_dict(row_selection.select_rows(batch, order), parts)
        if added:
            references.distribute(added, order, batches)
        return batches

    def _scored(self, examples: list[Inputs]) -> Inputs:
        """Completions of some rows of the data set, with a list of pixel values and with the sums of their rewards."""
        batch = self._generate_and_score_completions(examples)
        batch["rewards"], batch["row"] = self._rewards, [example["row"] for example in examples]
        if self.method.baseline == "leave_one_out":
            scored = (~self._rewards.isnan()).view(-1, self.num_generations).sum(dim=1)
            factor = scored / (scored - 1).clamp(min=1)  # r - mean of the others = n / (n - 1) * (r - mean)
            batch["advantages"] = batch["advantages"] * factor.repeat_interleave(self.num_generations)
        return row_selection.split_images_by_row(batch, self.num_generations)

    def _calculate_rewards(self, *arguments: Any, **options: Any) -> torch.Tensor:
        of_functions: torch.Tensor = super()._calculate_rewards(*arguments, **options)
        sums = (of_functions * self.reward_weights.to(of_functions.device)).nansum(dim=1)
        self._rewards = sums.masked_fill(of_functions.isnan().all(dim=1), torch.nan)
        return of_functions

    def _replace_groups(self, batch: Inputs) -> Inputs:
        """Replace groups without variance by groups of spare rows, in a limited number of rounds."""
        size, first = self.num_generations, self.spare_rows.start
        questions = len(batch["row"]) // size
        # Each batch has its own spare rows, so that a resumed run samples the same ones.
        first += self.state.global_step // self.num_iterations * questions * self.method.dynamic_sampling
        sampled = replaced = 0
        for _ in range(self.method.dynamic_sampling):
            zero = row_selection.zero_variance_rows(batch["advantages"], size)[::size]
            places = torch.nonzero(zero).squeeze(1).tolist()
            if not places:
                break
            examples = [self.train_dataset[first + number] for number in range(len(places)) for _ in range(size)]
            first, sampled = first + len(places), sampled + len(places)
            others = self._scored(examples)
            useful = ~row_selection.zero_variance_rows(others["advantages"], size)[::size]
            candidates = torch.nonzero(useful).squeeze(1).tolist()
            replaced += len(candidates)
            batch = row_selection.replace_groups(
                batch, others, dict(zip(places, candidates, strict=False)), size, self._tokenizer.pad_token_id
            )
        metrics = self._metrics["train"]
        metrics["dynamic_sampling/extra_completions"].append(float(sampled * size))
        metrics["dynamic_sampling/replaced_groups"].append(float(replaced))
        batch["num_items_in_batch"] = batch["completion_mask"].sum()
        return batch

    def _compute_loss(self, model: Any, inputs: Inputs) -> torch.Tensor:
        if "skipped" not in inputs:
            return super()._compute_loss(model, inputs)  # type: ignore[no-any-return]
        rows = torch.nonzero(~inputs["skipped"]).squeeze(1).tolist()
        self._references = inputs.get("references")
        try:
            loss = self._loss_of_rows(model, inputs, rows)
            return self._mixed(model, loss, rows, inputs) if self.references else loss
        finally:
            self._references = None

    def _loss_of_rows(self, model: Any, inputs: Inputs, rows: list[int]) -> torch.Tensor:
        """TRL's loss of some rows of a forward pass, as if all rows had been passed."""
        if len(rows) == 0:  # zero gradients as from TRL, so that the optimizer's momentum decays alike
            return sum(weight.sum() * 0.0 for weight in model.parameters() if weight.requires_grad)  # type: ignore[no-any-return]
        batch = {name: value for name, value in inputs.items() if name not in ("skipped", "references")}
        selected = row_selection.select_rows(batch, rows)
        loss: torch.Tensor = super()._compute_loss(model, selected)
        if self.state.global_step == self._sampled_at:  # before an optimizer step the model is the one that sampled
            self.agreement.record(self._metrics["train"], selected, self._log_probs)
        share_of_rows = len(rows) / len(inputs["skipped"])
        tokens = inputs["completion_mask"].sum().clamp(min=1)
        share_of_tokens = selected["completion_mask"].sum() / tokens
        # TRL averages over the rows or tokens of the forward pass, where skipped ones must count too. The divisor of
        # dapo is that of the whole step, whose gradient is a mean over the processes.
        of_step = float(processes.size())
        factors = {"dapo": of_step, "cispo": of_step, "bnpo": share_of_tokens}
        return loss * factors.get(self.loss_type, share_of_rows)  # type: ignore[no-any-return]

    def _mixed(self, model: Any, loss: torch.Tensor, rows: list[int], inputs: Inputs) -> torch.Tensor:
        """The loss with that of the reference completions, which were part of the forward pass if it had rows."""
        added = inputs.get("references")
        if added and not rows:
            ids, mask = (
                torch.cat([added[f"prompt_{name}"], added[f"completion_{name}"]], dim=1) for name in ("ids", "mask")
            )
            self._reference_log_probs = self._forward(model, ids, mask, added, added["completion_ids"].shape[1])[0]
        return references.mixed_loss(
            self.method,
            loss,
            inputs["on_policy_share"],
            added,
            self._reference_log_probs if added else None,
            self.state.global_step,
            self._metrics["train"],
        )

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **others: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        rows, keep = len(input_ids), logits_to_keep
        if self._references:  # in the same forward pass, after the prompts that both share
            input_ids, attention_mask, others, keep = references.join(
                self._references, input_ids, attention_mask, others, keep
            )
        log_probs, entropies = self._forward(model, input_ids, attention_mask, others, keep, batch_size)
        if self._references:
            self._reference_log_probs = log_probs[rows:, : self._references["completion_ids"].shape[1]]
            log_probs, entropies = (values[:rows, :logits_to_keep] for values in (log_probs, entropies))
        self._log_probs = log_probs.detach()
        return log_probs, entropies, None

    def _forward(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        others: Mapping[str, Any],
        logits_to_keep: int,
        batch_size: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        names = (*packing.IMAGE_INPUTS, "num_images", "mm_token_type_ids")
        inputs = {name: value for name, value in others.items() if name in names and value is not None}
        if isinstance(inputs.get("pixel_values"), torch.Tensor):
            inputs = split_pixel_values_by_grid(inputs)
        inputs |= {"input_ids": input_ids, "attention_mask": attention_mask}
        rows = range(len(input_ids))

        def batch(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
            return packing.log_probs(
                model,
                row_selection.select_rows(inputs, rows[start:stop]),
                logits_to_keep,
                temperature=self.temperature,
                gradient_checkpointing=self.gradient_checkpointing,
                autocast=self.accelerator.autocast(),
            )

        if batch_size is None:  # of the loss
            return batch(0, len(rows))
        size = max(1, batch_size // processes.size())

        def batches(starts: Sequence[int]) -> Iterator[tuple[int, tuple[torch.Tensor, ...]]]:
            for start in starts:
                yield start, tuple(values.cpu() for values in batch(start, start + size))

        results = dict(processes.divide(range(0, len(rows), size), batches))
        columns = zip(*(results[start] for start in sorted(results)), strict=True)
        log_probs, entropies = (torch.cat(values).to(input_ids.device) for values in columns)
        return log_probs, entropies


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
