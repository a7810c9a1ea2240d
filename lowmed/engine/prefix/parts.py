"""Sampling in parts, one after the other or in several processes, with the tokens of all completions at once."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from lowmed import processes
from lowmed.engine.prefix.sampling import Sampling, deduplicate, sample

InputsOf = Callable[[list[int]], Mapping[str, Any]]


def sample_in_parts(
    model: Any,
    prompt_of_row: Sequence[int],
    inputs_of: InputsOf,
    sampling: Sampling,
    *,
    rows_per_generate: int,
    rows_per_draw: int,
) -> tuple[list[list[int]], list[list[float]]]:
    """One completion for each row, in calls of a limited size.

    Every part draws the random numbers of all rows of its draw, from the same state. So its tokens are those of one
    call, up to rounding. Each process samples its share of the rows of a draw, and gets the completions of all.

    Args:
        model: as of `sample`.
        prompt_of_row: for each completion the number of its prompt.
        inputs_of: the model inputs of some rows, which have different prompts.
        sampling: how the completions are sampled.
        rows_per_generate: most rows in one call.
        rows_per_draw: rows whose random numbers are drawn together; at least `rows_per_generate`.

    Returns:
        Token ids of each completion, and the log-probability of each token.
    """
    device = model.device
    completions: list[list[int]] = []
    log_probs: list[list[float]] = []
    for first in range(0, len(prompt_of_row), rows_per_draw):
        rows = range(first, min(first + rows_per_draw, len(prompt_of_row)))
        start = end = generator_state(device)
        longest = 0
        of_share: list[list[int]] = []
        log_probs_of_share: list[list[float]] = []
        share = own_share([prompt_of_row[row] for row in rows])
        for part_first in range(share.start, share.stop, rows_per_generate):
            part = rows[part_first : min(part_first + rows_per_generate, share.stop)]
            first_rows, prompt_of_part = deduplicate([prompt_of_row[row] for row in part])
            set_generator_state(device, start)
            inputs = inputs_of([part[row] for row in first_rows])
            sampled, of_tokens = sample(model, inputs, prompt_of_part, sampling, drawn=(part_first, len(rows)))
            if longest < (length := max(map(len, sampled))):
                longest, end = length, generator_state(device)
            of_share += sampled
            log_probs_of_share += of_tokens
        shares = processes.gather((of_share, log_probs_of_share, longest, end.cpu()))
        completions += chain.from_iterable(texts for texts, *_ in shares)
        log_probs += chain.from_iterable(values for _, values, *_ in shares)
        set_generator_state(device, max(shares, key=lambda one: one[2])[3])  # the part that drew most often
    return completions, log_probs


def own_share(prompt_of_row: Sequence[int]) -> range:
    """The rows of this process: a range of complete prompts if there are enough of them.

    Args:
        prompt_of_row: for each row the number of its prompt; rows of a prompt are adjacent.
    """
    starts = [row for row, prompt in enumerate(prompt_of_row) if row == 0 or prompt != prompt_of_row[row - 1]]
    size, rank = processes.size(), processes.place().rank
    cuts = starts if len(starts) >= size else range(len(prompt_of_row))
    bounds = [*cuts, len(prompt_of_row)]
    return range(bounds[len(cuts) * rank // size], bounds[len(cuts) * (rank + 1) // size])


def generator_state(device: torch.device) -> torch.Tensor:
    """The state of the random generator of a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_generator_state(device: torch.device, state: torch.Tensor) -> None:
    """Set the random generator of a device back."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
