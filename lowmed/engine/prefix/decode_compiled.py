"""The decoding step, compiled once: for 16-bit bases, where launching small kernels takes longer than their work.

The cache keeps its shape and addresses from one training step to the next, and finished rows stay in the batch. Only
longer prompts or more rows cause another compilation. The cache is also kept in memory while the model trains. Weights
are read in place, so that an optimizer step takes effect in the next decoding step.

On a CPU, where it is tested, this uses inductor's default mode. On a GPU it uses CUDA graphs, which are untested:
cache and weights have fixed addresses, everything else is small and copied in, and the output of a replay is used
before the next replay.
"""

from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache

from lowmed.engine.prefix.decode import (
    Decoder,
    KVCache,
    Linear,
    allocate,
    decode_step,
    next_position,
    round_up,
    write_prefill,
)
from lowmed.errors import SetupError, first_line
from lowmed.plan.memory import CACHE_BLOCK_TOKENS

LENGTH_STEP = CACHE_BLOCK_TOKENS["compiled"]


class CompiledDecoder(Decoder):
    """Reads tokens by a compiled step. It belongs to one model in training, because its cache is never freed."""

    drops_finished_rows = False

    def __init__(self) -> None:
        self._cache: KVCache | None = None
        self._step: Any = None
        self._has_run = False

    def begin(self, prefill: DynamicCache, mask: torch.Tensor, prompt_of_row: torch.Tensor, new_tokens: int) -> KVCache:
        """Like `Decoder.begin`, but reuses the last cache if it is large enough."""
        needed = len(prompt_of_row), round_up(mask.shape[1] + new_tokens, LENGTH_STEP)
        current = (0, 0) if self._cache is None else (len(self._cache.bias), self._cache.bias.shape[3])
        if self._cache is None or needed[0] > current[0] or needed[1] > current[1]:
            self._cache = None  # freed before a larger one is allocated
            self._cache = self._compile(prefill, max(needed[0], current[0]), max(needed[1], current[1]))
        write_prefill(self._cache, prefill, mask, prompt_of_row)
        return self._cache

    def read(
        self, core: Any, linear: Linear, cache: KVCache, tokens: torch.Tensor, rotation: torch.Tensor
    ) -> torch.Tensor:
        """Like `Decoder.read`.

        Args:
            core: the model.
            linear: calls its linear layers.
            cache: cache of the rows; the token is added to it.
            tokens: [rows].
            rotation: rotary embedding of the token.

        Raises:
            SetupError: the step cannot be compiled here.
        """
        position, unused_rows = next_position(cache), len(cache.bias) - len(tokens)
        padded = pad(tokens, (0, unused_rows)), pad(rotation, (0, 0, 0, 0, 0, unused_rows))
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            logits = self._step(core, linear, *padded, cache.bias, position, cache.keys, cache.values)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if self._has_run:
                raise
            raise SetupError(
                f"cannot compile the decoding step: {first_line(getattr(error, 'inner_exception', error))}",
                "model.rollout=compiled",
                "use model.rollout=transformers; compiling needs a C++ compiler, and Triton on a GPU",
            ) from error
        self._has_run = True
        return logits[: len(tokens)]  # type: ignore[no-any-return]  # torch.compile is untyped

    def _compile(self, prefill: DynamicCache, rows: int, capacity: int) -> KVCache:
        """Compile the step for a new cache of that size."""
        torch.compiler.reset()  # frees graphs over the last cache
        mode = "reduce-overhead" if prefill.layers[0].keys.is_cuda else "default"
        self._step = torch.compile(decode_step, fullgraph=True, dynamic=False, mode=mode)
        self._has_run = False
        cache = allocate(prefill, rows, capacity)
        for tensor in (*cache.keys, *cache.values, cache.bias):
            torch._dynamo.mark_static_address(tensor)  # otherwise CUDA graphs copy it at every step, or are disabled
        return cache
