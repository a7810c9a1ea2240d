"""Sampling that reads each distinct prompt once: all completions of a prompt continue from its one KV cache."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache, LogitsProcessorList, MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from lowmed.engine.argument_names import with_cache
from lowmed.engine.prefix import decode
from lowmed.engine.prefix.decoder import Decoder
from lowmed.errors import SetupError
from lowmed.models import FAMILIES

# Tokens between checks for finished completions. A check makes the CPU wait for the GPU; on a CPU it is free.
CHECK_EVERY = {"cpu": 1, "cuda": 8}


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling.

    Attributes:
        max_new_tokens: longer completions are truncated.
        temperature: 0 is greedy.
        suppressed: ids of tokens that are never sampled.
        end_ids: ids of tokens that end a completion.
        decoder: reads the sampled tokens.
        top_p: sample from the most likely tokens whose probabilities reach this sum.
        top_k: sample from this many most likely tokens; 0 = from all.
        min_p: sample from tokens that have at least this share of the highest probability; None = from all.
        before_token: called before each token; an error that it raises ends the completions.
    """

    max_new_tokens: int
    temperature: float
    suppressed: Sequence[int]
    end_ids: Sequence[int]
    decoder: Decoder = field(default_factory=Decoder)
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    before_token: Callable[[], None] = lambda: None

    def limit(self, scores: torch.Tensor) -> torch.Tensor:
        """The scores [rows, vocabulary] with -inf for tokens outside `top_k`, `top_p` and `min_p`, as transformers."""
        warpers = LogitsProcessorList()
        if self.top_k:
            warpers.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            warpers.append(TopPLogitsWarper(self.top_p))
        if self.min_p:
            warpers.append(MinPLogitsWarper(self.min_p))
        return warpers(None, scores) if warpers else scores


def deduplicate(keys: Sequence[Hashable]) -> tuple[list[int], list[int]]:
    """Find equal keys.

    Returns:
        The index of the first occurrence of each distinct key, and for every key the number of its distinct key.
    """
    numbers: dict[Hashable, int] = {}
    number_of_key = [numbers.setdefault(key, len(numbers)) for key in keys]
    return [number_of_key.index(number) for number in range(len(numbers))], number_of_key


def generate(
    model: Any, inputs: Mapping[str, Any], prompt_of_row: Sequence[int], sampling: Sampling
) -> list[list[int]]:
    """Token ids of one completion for each row; arguments and errors as of `sample`."""
    completions, _log_probs = sample(model, inputs, prompt_of_row, sampling)
    sampling.decoder.end()
    return completions


@torch.no_grad()
def sample(
    model: Any,
    inputs: Mapping[str, Any],
    prompt_of_row: Sequence[int],
    sampling: Sampling,
    *,
    drawn: tuple[int, int] | None = None,
) -> tuple[list[list[int]], list[list[float]]]:
    """One completion for each row, with each prompt read once.

    With the same generator state the completions equal those of transformers' `generate` over repeated prompts, up to
    rounding: random numbers are drawn for all rows at every token, also for finished ones.

    Args:
        model: one that `decode.supports`, with or without an adapter.
        inputs: the processor's output for the distinct prompts, padded on the left, on the model's device.
        prompt_of_row: for each completion the row of `inputs` with its prompt.
        sampling: how the completions are sampled. Its decoder stays ready for more rows, until `Decoder.end`.
        drawn: if these are a part of the rows whose random numbers are drawn together, the first one and the number of
            all rows.

    Returns:
        Token ids of each completion, including the token that ended it, if any; and the log-probability of each token
        at this temperature, over the whole vocabulary.

    Raises:
        SetupError: the first logits are NaN or infinite.
    """
    core = unwrapped(model)
    device = inputs["input_ids"].device
    prompts = torch.tensor(prompt_of_row, device=device)
    prefill = DynamicCache(config=core.config)
    positions = token_positions(core, inputs)
    position_ids = decode.position_ids(core, positions)
    options = {"position_ids": position_ids, "use_cache": True, **with_cache(core.model, prefill)}
    hidden = core.model(**inputs, **options).last_hidden_state
    logits = core.lm_head(hidden[:, -1])
    check_finite(logits)
    steps = torch.arange(sampling.max_new_tokens - 1, device=device)
    next_positions = (positions.amax(dim=(0, 2)) + 1)[prompts]
    rotations = decode.rotary(core, next_positions[:, None] + steps, hidden)
    decoder = sampling.decoder
    decoder.begin(core, prefill, inputs["attention_mask"].bool(), prompts, len(steps))
    del prefill  # the rows have copies of it
    logits = logits[prompts]
    end_ids, suppressed = (
        torch.tensor(list(ids), dtype=torch.long, device=device) for ids in (sampling.end_ids, sampling.suppressed)
    )
    completions = torch.full((len(prompts), sampling.max_new_tokens), int(end_ids[0]), device=device)
    log_probs = torch.zeros(completions.shape, device=device)
    first, all_rows = drawn or (0, len(prompts))
    active = torch.arange(len(prompts), device=device)  # the completion of each row of the batch
    finished = torch.zeros(len(prompts), dtype=torch.bool, device=device)  # for each row of the batch
    for step in range(sampling.max_new_tokens):
        sampling.before_token()
        tokens, log_probs[active, step] = _sample(logits, suppressed, sampling, first + active, all_rows)
        completions[active, step] = tokens
        finished |= (tokens[:, None] == end_ids).any(dim=1)
        if step + 1 == sampling.max_new_tokens:
            break
        if step % CHECK_EVERY[device.type] == 0:
            unfinished = torch.nonzero(~finished).squeeze(1)
            if len(unfinished) == 0:
                break
            if 2 * len(unfinished) <= len(active):
                decoder.keep_rows(unfinished)
                active, tokens, finished = active[unfinished], tokens[unfinished], finished[unfinished]
                rotations = rotations[:, :, unfinished]
        logits = decoder.read(tokens, rotations[step])
    truncated = [truncate_at_end(completion, sampling.end_ids) for completion in completions.tolist()]
    return truncated, [row[: len(ids)] for row, ids in zip(log_probs.tolist(), truncated, strict=True)]


def check_finite(logits: torch.Tensor) -> None:
    """Raise an error for logits that are not finite.

    Raises:
        SetupError: a logit is NaN or infinite.
    """
    if not torch.isfinite(logits).all():
        raise SetupError(
            "the model produced NaN or infinite logits",
            f"computed in {str(logits.dtype).removeprefix('torch.')} on {logits.device.type}",
            "weights or adapter are broken, or too large for this precision: try model.load_in=16bit, another adapter, "
            "or a GPU that has bf16",
        )


def unwrapped(model: Any) -> Any:
    """The transformers model inside a PeftModel, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def token_positions(core: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Positions of time, height and width [3, prompts, tokens]; those of padding are 0.

    In a text-only model all three are equal.
    """
    ids = inputs["input_ids"]
    if FAMILIES[core.config.model_type].text_only:
        counted: torch.Tensor = inputs["attention_mask"].long().cumsum(-1) - 1
        return counted.clamp(min=0).expand(3, -1, -1)
    kinds = inputs.get("mm_token_type_ids")
    positions, _deltas = core.model.get_rope_index(
        ids,
        mm_token_type_ids=torch.zeros_like(ids) if kinds is None else kinds,
        image_grid_thw=inputs.get("image_grid_thw"),
        attention_mask=inputs["attention_mask"],
    )
    return positions  # type: ignore[no-any-return]  # transformers is untyped


def _sample(
    logits: torch.Tensor, suppressed: torch.Tensor, sampling: Sampling, rows: torch.Tensor, drawn: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next token of each row of the batch, and its log-probability over the whole vocabulary.

    `rows` are the numbers of the rows among all rows of the draw.
    """
    scores = logits.float() / (sampling.temperature or 1.0)
    allowed = scores.index_fill(1, suppressed, -torch.inf)
    if sampling.temperature == 0:
        tokens = allowed.argmax(dim=-1)
    else:
        probabilities = torch.softmax(sampling.limit(allowed), dim=-1)
        # The method of torch.multinomial. Here the noise of a row does not depend on which other rows are finished.
        noise = torch.empty((drawn, probabilities.shape[1]), device=probabilities.device).exponential_(1)
        tokens = (probabilities / (noise if len(rows) == drawn else noise[rows])).argmax(dim=-1)
    return tokens, scores.gather(1, tokens[:, None])[:, 0] - scores.logsumexp(dim=-1)


def truncate_at_end(ids: list[int], end_ids: Sequence[int]) -> list[int]:
    """The tokens up to and including the first end token; all of them if there is none."""
    return ids[: next((index for index, token in enumerate(ids) if token in end_ids), len(ids)) + 1]
