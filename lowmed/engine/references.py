"""GRPO with the reference completions of its questions in the same forward pass (`method.mix`)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from lowmed import processes, prompt
from lowmed.engine import chat
from lowmed.engine.job import TrainingJob
from lowmed.engine.prefix import packing
from lowmed.engine.rollouts import group_scores
from lowmed.engine.row_selection import Inputs, select_rows
from lowmed.errors import RecipeError
from lowmed.methods import GrpoSpec
from lowmed.methods.mix import ChordMix, LuffyMix
from lowmed.rewards import Rollout, values_after_gates

# Row of the data set -> tokens of the reference completion of its question and its reward, or None.
References = Callable[[int], tuple[list[int], float] | None]


def references(job: TrainingJob) -> References:
    """The reference completions of a run. A line states for how many of its questions there is one.

    Raises:
        RecipeError: no question has one that is short enough.
    """
    method, loaded, family = job.recipe.method, job.loaded, job.recipe.prompts.training
    start = chat.assistant_start(loaded.processor, family)
    end = loaded.tokenizer.eos_token_id if loaded.tokenizer.eos_token_id in loaded.end_ids else loaded.end_ids[0]
    known: dict[str, tuple[list[int], str] | None] = {}
    rewards: dict[str, float] = {}
    for row in job.rows:
        if row.sample.id not in known:
            completion = prompt.training_completion(family, row.sample)
            rest = None if completion is None else start.completed_by(completion).removeprefix(start.text)
            ids = [] if rest is None else [*loaded.tokenizer(rest, add_special_tokens=False)["input_ids"], end]
            fits = 0 < len(ids) <= method.max_sampled_tokens
            known[row.sample.id] = (ids, f"{start.opening}{rest}") if fits else None
    count = sum(one is not None for one in known.values())
    if count == 0:
        raise RecipeError(
            "no question of this run has a reference completion of at most "
            f"{method.max_sampled_tokens} tokens, and the method mixes them in",
            "method.mix and method.max_completion_length",
            "use data with explanations, raise method.max_completion_length, or leave method.mix out",
        )
    job.log(f"mix     {count:,} of {len(known):,} questions have a reference completion that is short enough")

    def reference_of(number: int) -> tuple[list[int], float] | None:
        sample = job.rows[number].sample
        reference = known[sample.id]
        if reference is None:
            return None
        ids, text = reference
        if sample.id not in rewards:
            [scores] = processes.from_first(lambda: group_scores(job.rewards, sample, [Rollout(text, len(ids))]))
            paid = values_after_gates(job.rewards, scores)
            rewards[sample.id] = sum(reward.weight * (paid[reward.name] or 0.0) for reward in job.rewards)
        return ids, rewards[sample.id]

    return reference_of


def add(reference_of: References, method: GrpoSpec, batch: Inputs) -> Inputs | None:
    """The reference completions of a batch as rows with the same prompts; None if its questions have none.

    The batch gets `on_policy_share`, the factor of its loss. If the reference completions join the groups, they have
    advantages, and the batch's `num_items_in_batch` counts their tokens.

    Args:
        reference_of: the result of `references`.
        method: settings of the recipe.
        batch: group by group, with `row` and `rewards`.
    """
    assert method.mix
    size, device = method.num_generations, batch["prompt_ids"].device
    firsts = range(0, len(batch["row"]), size)
    rewarded = {first: one for first in firsts if (one := reference_of(batch["row"][first]))}
    rows, count = len(batch["row"]), len(rewarded)
    joins = method.mix.off_policy
    batch["on_policy_share"] = torch.tensor(rows / (rows + count) if joins and method.loss_type == "dr_grpo" else 1.0)
    if not rewarded:
        return None
    names = ("prompt_ids", "prompt_mask", *packing.IMAGE_INPUTS, "num_images")
    added = select_rows({name: batch[name] for name in names if name in batch}, list(rewarded))
    completions = [torch.tensor(ids, device=device) for ids, _ in rewarded.values()]
    added["completion_ids"] = pad_sequence(completions, batch_first=True)
    added["completion_mask"] = pad_sequence([torch.ones_like(ids) for ids in completions], batch_first=True)
    if "mm_token_type_ids" in batch:
        width = batch["prompt_ids"].shape[1]
        added["mm_token_type_ids"] = pad(
            batch["mm_token_type_ids"][list(rewarded), :width], (0, added["completion_ids"].shape[1])
        )
    added["first_row"] = list(rewarded)
    tokens = added["completion_mask"].sum()
    if joins:
        groups = batch["rewards"].view(-1, size)
        on_policy = [groups[first // size] for first in rewarded]
        added["advantages"] = torch.stack(
            [
                _advantage(reward, rewards, method.scale_rewards == "group")
                for rewards, (_, reward) in zip(on_policy, rewarded.values(), strict=True)
            ]
        )
        batch["num_items_in_batch"] = batch["num_items_in_batch"] + tokens
        tokens = batch["num_items_in_batch"]
    if joins and method.loss_type == "dr_grpo":
        tokens = torch.tensor((rows + count) * method.max_completion_length, device=device)
    added["divisor"] = tokens
    return added


def _advantage(reward: float, rewards: torch.Tensor, scaled: bool) -> torch.Tensor:
    """The advantage of a reward over those of sampled completions [completions], NaN for one without a reward."""
    known = rewards[~rewards.isnan()]
    if len(known) == 0:
        return rewards.new_zeros(())
    spread = known.std() if len(known) > 1 and known.max() > known.min() else known.new_ones(())
    return (reward - known.mean()) / (spread if scaled else 1.0)


def distribute(added: Inputs, order: Sequence[int], batches: Sequence[Inputs]) -> None:
    """Give each reference completion to the forward pass with the first row of its group, as `references`.

    Args:
        added: the result of `add`.
        order: the order of the rows of the batch.
        batches: the batch in that order, in equal parts.
    """
    rows_of_part = len(order) // len(batches)
    part_of_row = {row: place // rows_of_part for place, row in enumerate(order)}
    for number, batch in enumerate(batches):
        members = [index for index, first in enumerate(added["first_row"]) if part_of_row[first] == number]
        if members:
            batch["references"] = select_rows(added, members)


def join(
    added: Inputs, input_ids: torch.Tensor, attention_mask: torch.Tensor, others: Mapping[str, Any], completion: int
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any], int]:
    """The inputs of a forward pass with the reference completions as further rows.

    Args:
        added: reference completions, with prompts as long as those of the pass.
        input_ids: [rows, prompt and completion].
        attention_mask: as `input_ids`.
        others: lists with one entry for each row, and `mm_token_type_ids` as `input_ids`.
        completion: columns of the completion.

    Returns:
        The first four arguments that TRL passes: tokens, mask, other inputs, columns of the completion.
    """
    columns = added["completion_ids"].shape[1]
    longest = max(columns, completion)

    def rows(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.cat([pad(first, (0, longest - completion)), pad(second, (0, longest - columns))])

    ids, mask = (torch.cat([added[f"prompt_{name}"], added[f"completion_{name}"]], dim=1) for name in ("ids", "mask"))
    joined: dict[str, Any] = {
        name: [*others[name], *added[name]]
        for name in (*packing.IMAGE_INPUTS, "num_images")
        if others.get(name) is not None
    }
    if others.get("mm_token_type_ids") is not None:
        joined["mm_token_type_ids"] = rows(others["mm_token_type_ids"], added["mm_token_type_ids"])
    return rows(input_ids, ids), rows(attention_mask, mask), joined, longest


def mixed_loss(
    method: GrpoSpec,
    loss: torch.Tensor,
    on_policy_share: torch.Tensor,
    added: Inputs | None,
    log_probs: torch.Tensor | None,
    step: int,
    metrics: dict[str, list[float]],
) -> torch.Tensor:
    """The loss of a forward pass with that of its reference completions.

    Args:
        method: settings of the recipe.
        loss: TRL's loss of the sampled completions.
        on_policy_share: factor of that loss.
        added: the reference completions of the pass, or None.
        log_probs: [completions, tokens], of the reference completions.
        step: optimizer steps so far.
        metrics: the trainer's metrics of this step.
    """
    mix = method.mix
    assert mix
    of_sampled, of_references = (on_policy_share.item(), 1.0) if isinstance(mix, LuffyMix) else mix.weights(step)
    metrics["mix/reference_weight"].append(of_references)
    loss = loss * of_sampled
    if added is None or log_probs is None:
        return loss
    mask = added["completion_mask"]
    metrics["mix/reference_logp"].append((log_probs.detach() * mask).sum().item() / mask.sum().item())
    if isinstance(mix, LuffyMix):
        probabilities = log_probs.exp()
        values = probabilities / (probabilities + mix.gamma) * added["advantages"][:, None]
        metrics["mix/reference_advantage"].append(added["advantages"].mean().item())
    elif isinstance(mix, ChordMix) and mix.token_weights:
        probabilities = log_probs.detach().exp()
        values = probabilities * (1 - probabilities) * log_probs
    else:
        values = log_probs
    of_rows: torch.Tensor = -(values * mask).sum() / added["divisor"]
    return loss + of_references * of_rows * processes.size()  # the divisor is that of the step
