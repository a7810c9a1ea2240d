"""Completions drawn from a model that reads each distinct prompt once: all copies of a prompt go on from its one cache."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from lowmed.engine.prefix import decode
from lowmed.errors import SetupError

# Tokens between looks at who has ended: a look makes the host wait for the card, and costs nothing on a CPU.
LOOK_EVERY = {"cpu": 1, "cuda": 8}


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. `temperature` 0 is greedy; `suppressed` are never drawn; `end_ids` end a completion.

    `decoder` reads the tokens drawn.
    """

    max_new_tokens: int
    temperature: float
    suppressed: Sequence[int]
    end_ids: Sequence[int]
    decoder: decode.Decoder = field(default_factory=decode.Decoder)


def deduplicate(keys: Sequence[Hashable]) -> tuple[list[int], list[int]]:
    """The places where each key stands first, and for every place which of those its key is."""
    number: dict[Hashable, int] = {}
    owners = [number.setdefault(key, len(number)) for key in keys]
    return [owners.index(each) for each in range(len(number))], owners


@torch.no_grad()
def generate(model: Any, inputs: Mapping[str, Any], owners: Sequence[int], sampling: Sampling) -> list[list[int]]:
    """One completion per owner, each prompt read once.

    With the same generator state the completions are those of transformers' `generate` over the repeated prompts, up to
    rounding: the noise is drawn for all completions at every token, whoever has ended.

    Args:
        model: one that `decode.knows`, with or without an adapter.
        inputs: what the processor made of the distinct prompts, padded on the left, on the model's device.
        owners: for each completion the row of `inputs` that it answers.
        sampling: how the completions are drawn.

    Returns:
        Token ids of each completion, with the one that ended it if any did.

    Raises:
        SetupError: the first logits are no numbers.
    """
    core = unwrapped(model)
    device = inputs["input_ids"].device
    rows = torch.tensor(owners, device=device)
    cache = DynamicCache(config=core.config)
    positions = mrope_positions(core.model, inputs)
    hidden = core.model(**inputs, position_ids=positions, past_key_values=cache, use_cache=True).last_hidden_state
    logits = core.lm_head(hidden[:, -1])
    check_finite(logits)
    steps = torch.arange(sampling.max_new_tokens - 1, device=device)
    following = (positions.amax(dim=(0, 2)) + 1)[rows]
    turns = decode.rotary(core, following[:, None] + steps, hidden)
    past = sampling.decoder.begin(cache, inputs["attention_mask"].bool(), rows, len(steps))
    del cache  # the rows have copies of it
    linear = decode.linear_layer(core)
    logits = logits[rows]
    ends, never = (torch.tensor(list(ids), device=device) for ids in (sampling.end_ids, sampling.suppressed))
    completions = torch.full((len(rows), sampling.max_new_tokens), int(ends[0]), device=device)
    live = torch.arange(len(rows), device=device)  # the completion that each row of the batch is
    ended = torch.zeros(len(rows), dtype=torch.bool, device=device)  # of the rows of the batch
    for step in range(sampling.max_new_tokens):
        tokens = _draw(logits, never, sampling.temperature, live, len(rows))
        completions[live, step] = tokens
        ended |= (tokens[:, None] == ends).any(dim=1)
        if step + 1 == sampling.max_new_tokens:
            break
        if step % LOOK_EVERY[device.type] == 0:
            going = torch.nonzero(~ended).squeeze(1)
            if len(going) == 0:
                break
            # So all copies together are at most as large as the first batch.
            if sampling.decoder.drops_rows and 2 * len(going) <= len(live):
                past.keep(going)
                live, tokens, ended, turns = live[going], tokens[going], ended[going], turns[:, :, going]
        logits = sampling.decoder.read(core, linear, past, tokens, turns[step])
    return [truncate_at_end(completion, sampling.end_ids) for completion in completions.tolist()]


def check_finite(logits: torch.Tensor) -> None:
    """Stop at once where the model computes no numbers.

    Raises:
        SetupError: a logit is NaN or infinite.
    """
    if not torch.isfinite(logits).all():
        raise SetupError(
            "the model's first logits are no numbers",
            f"computed in {str(logits.dtype).removeprefix('torch.')} on {logits.device.type}",
            "weights or adapter are broken, or too large for this precision: try model.load_in=16bit, another adapter, "
            "or a card that has bf16",
        )


def unwrapped(model: Any) -> Any:
    """The transformers model under an adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def mrope_positions(body: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """M-RoPE positions [3, prompts, tokens]; those of padding are 0."""
    ids = inputs["input_ids"]
    kinds = inputs.get("mm_token_type_ids")
    positions, _deltas = body.get_rope_index(
        ids,
        mm_token_type_ids=torch.zeros_like(ids) if kinds is None else kinds,
        image_grid_thw=inputs.get("image_grid_thw"),
        attention_mask=inputs["attention_mask"],
    )
    return positions  # type: ignore[no-any-return]  # transformers is untyped


def _draw(
    logits: torch.Tensor, never: torch.Tensor, temperature: float, live: torch.Tensor, completions: int
) -> torch.Tensor:
    """The next token of each row of the batch."""
    scores = logits.float().index_fill(1, never, -torch.inf)
    if temperature == 0:
        return scores.argmax(dim=-1)
    chances = torch.softmax(scores / temperature, dim=-1)
    # torch.multinomial draws one of many just so; done here so that a row's noise does not hang on who has ended.
    noise = torch.empty((completions, chances.shape[1]), device=chances.device).exponential_(1)
    return (chances / (noise if len(live) == completions else noise[live])).argmax(dim=-1)


def truncate_at_end(ids: list[int], end_ids: Sequence[int]) -> list[int]:
    """The tokens up to and with the first that ends a completion; all of them where none does."""
    return ids[: next((place for place, token in enumerate(ids) if token in end_ids), len(ids)) + 1]
