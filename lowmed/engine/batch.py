"""A batch of replies as TRL's trainer holds it: rows chosen, padding cut, and scored with each prompt read once."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from transformers import DynamicCache
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from lowmed.engine.prefill import mrope_positions, unwrapped

Inputs = dict[str, Any]


def settled(advantages: torch.Tensor, group_size: int) -> torch.Tensor:
    """Rows of groups whose replies all earned the same, which says nothing about any of them.

    TRL divides by a standard deviation that rounding keeps above 0, so that such a group's advantages, 0 in exact
    arithmetic, may all be 0.001; they are equal to the last bit.

    Args:
        advantages: [rows], group by group. They sum to 0 in a group, so that equal ones stand for 0.
        group_size: replies per question.

    Returns:
        [rows], bool.
    """
    groups = advantages.view(-1, group_size)
    return (groups == groups[:, :1]).all(dim=1).repeat_interleave(group_size)


def order(idle_rows: torch.Tensor, lengths: torch.Tensor, group_size: int) -> torch.Tensor:
    """[rows]: idle rows first, then group by group, the groups with the shortest replies first."""
    longest = lengths.masked_fill(idle_rows, 0).view(-1, group_size).amax(dim=1).repeat_interleave(group_size)
    keys = list(zip((~idle_rows).tolist(), longest.tolist(), strict=True))

    def key(row: int) -> tuple[bool, int, int]:
        return *keys[row], row // group_size

    return torch.tensor(sorted(range(len(keys)), key=key), device=lengths.device)


def chosen(inputs: Inputs, rows: torch.Tensor) -> Inputs:
    """Some rows of a batch, in that order, their images with them.

    Args:
        inputs: what TRL's trainer made of one batch of replies, or a part of it.
        rows: [kept], their numbers.
    """
    split = split_pixel_values_by_grid(inputs)
    numbers = rows.tolist()
    found: Inputs = {}
    for name, value in split.items():
        if isinstance(value, torch.Tensor):
            found[name] = value[rows.to(value.device)] if value.ndim else value
        else:
            found[name] = [value[row] for row in numbers]
    return unsplit_pixel_values_by_grid(found)  # type: ignore[no-any-return]  # trl is untyped


def parts(inputs: Inputs, count: int) -> list[Inputs]:
    """A batch in equal parts, one a forward pass."""
    return [unsplit_pixel_values_by_grid(part) for part in split_tensor_dict(split_pixel_values_by_grid(inputs), count)]


def trimmed(inputs: Inputs) -> Inputs:
    """A batch without the columns that are padding in all of its rows; no value of the loss changes."""
    prompt_length = inputs["prompt_mask"].shape[1]
    first = int(inputs["prompt_mask"].any(dim=0).int().argmax())
    last = int(inputs["completion_mask"].sum(dim=1).max())
    columns = {
        "prompt_ids": slice(first, None),
        "prompt_mask": slice(first, None),
        "completion_ids": slice(last),
        "completion_mask": slice(last),
        "old_per_token_logps": slice(last),
        "ref_per_token_logps": slice(last),
        "mm_token_type_ids": slice(first, prompt_length + last),
    }
    return {name: value[:, columns[name]] if name in columns else value for name, value in inputs.items()}


def same_prompts(prompt_ids: torch.Tensor, images: list[torch.Tensor] | None) -> tuple[list[int], list[int]]:
    """The rows where each prompt stands first, and for every row which of those it asks; by tokens and pixels.

    Args:
        prompt_ids: [rows, tokens].
        images: the pixels of each row's images, or None.
    """
    lines = prompt_ids.tolist()
    firsts: list[int] = []
    owners: list[int] = []
    for row, line in enumerate(lines):
        for number, first in enumerate(firsts):
            if lines[first] == line and (images is None or torch.equal(images[first], images[row])):
                owners.append(number)
                break
        else:
            owners.append(len(firsts))
            firsts.append(row)
    return firsts, owners


def log_probs(
    model: Any, inputs: Inputs, reply_length: int, autocast: AbstractContextManager[Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy of every reply token, each distinct prompt forwarded once.

    All but the last token of a prompt goes through the model once; the replies, begun with that last token, attend to
    its keys and values, through which the gradient flows back into the one prompt. So it is the gradient of forwarding
    each row whole, up to rounding.

    Args:
        model: with TRL's fused head, and an adapter.
        inputs: `input_ids` and `attention_mask` [rows, prompt and reply], and what belongs to the images.
        reply_length: columns of the reply.
        autocast: the precision of the forward pass.

    Returns:
        Both [rows, reply_length]; 0 where nothing counts.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    width = ids.shape[1] - reply_length
    firsts, owners = same_prompts(ids[:, :width], split_pixel_values_by_grid(inputs).get("pixel_values"))
    prompts = chosen(inputs, torch.tensor(firsts))
    prompts.pop("num_images", None)
    prompts = {name: value[:, :width] if name in _BY_TOKEN else value for name, value in prompts.items()}
    core = unwrapped(model)
    positions = mrope_positions(core.model, prompts)
    cache = DynamicCache(config=core.config)
    rows = torch.tensor(owners, device=ids.device)
    following = (positions.amax(dim=(0, 2)) + torch.arange(reply_length, device=ids.device)[:, None]).T[rows]
    labels = ids[:, width:].masked_fill(mask[:, width:] == 0, -100)
    head = {name: value[:, :-1] if name in _BY_TOKEN else value for name, value in prompts.items()}
    with autocast:
        model(**head, position_ids=positions[:, :, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_select_indices(rows)
        found = model(
            input_ids=ids[:, width - 1 : -1],
            attention_mask=mask[:, :-1],
            position_ids=following.expand(3, -1, -1),
            past_key_values=cache,
            shift_labels=labels,
            fused_lm_head=True,
        )
    return found.log_probs, found.entropy


_BY_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids")
