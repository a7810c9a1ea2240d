"""The step of `decode`, compiled once: for 16-bit bases whose many small kernels take longer to start than to run.

Rooms, and so shapes and addresses, stay the same from update to update, and rows that ended stay in the batch: only
longer prompts or more rows are compiled anew. The rooms are held while the model trains as well. Weights are read where
they lie, so what the optimizer writes counts in the next step. On a CPU, where it is tested, this is inductor's
default; on a card its CUDA graphs, written by reading and not tried yet: rooms and weights stand at fixed addresses,
all else is small and copied in, and what a replay returns is used up before the next.
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
from lowmed.errors import SetupError
from lowmed.plan.memory import CACHE_BLOCK_TOKENS

STEP_TOKENS = CACHE_BLOCK_TOKENS["compiled"]


class CompiledDecoder(Decoder):
    """Reads tokens by a compiled step. It belongs to one model, and to training: the rooms are never given back."""

    drops_rows = False

    def __init__(self) -> None:
        self._past: KVCache | None = None
        self._step: Any = None
        self._proven = False

    def begin(self, cache: DynamicCache, mask: torch.Tensor, rows: torch.Tensor, more: int) -> KVCache:
        """As `Decoder.begin`, in the rooms of the last time where they are large enough."""
        wanted = len(rows), round_up(mask.shape[1] + more, STEP_TOKENS)
        have = (0, 0) if self._past is None else (len(self._past.seen), self._past.seen.shape[3])
        if self._past is None or wanted[0] > have[0] or wanted[1] > have[1]:
            self._past = None  # given back before larger rooms are taken
            self._past = self._rooms(cache, max(wanted[0], have[0]), max(wanted[1], have[1]))
        write_prefill(self._past, cache, mask, rows)
        return self._past

    def read(self, core: Any, linear: Linear, past: KVCache, tokens: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
        """As `Decoder.read`.

        Raises:
            SetupError: the step cannot be compiled here.
        """
        place, idle = next_position(past), len(past.seen) - len(tokens)
        given = pad(tokens, (0, idle)), pad(turn, (0, 0, 0, 0, 0, idle))
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            logits = self._step(core, linear, *given, past.seen, place, past.keys, past.values)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if self._proven:
                raise
            raise SetupError(
                f"the step of decoding can not be compiled here: {_first_line(error)}",
                "model.rollout=compiled",
                "use model.rollout=transformers; compiling needs a C++ compiler, and Triton on a card",
            ) from error
        self._proven = True
        return logits[: len(tokens)]  # type: ignore[no-any-return]  # torch.compile is untyped

    def _rooms(self, cache: DynamicCache, rows: int, room: int) -> KVCache:
        torch.compiler.reset()  # graphs over the rooms before
        mode = "reduce-overhead" if cache.layers[0].keys.is_cuda else "default"
        self._step = torch.compile(decode_step, fullgraph=True, dynamic=False, mode=mode)
        self._proven = False
        past = allocate(cache, rows, room)
        for each in (*past.keys, *past.values, past.seen):
            torch._dynamo.mark_static_address(each)  # else CUDA graphs would copy it at every step, or give up
        return past


def _first_line(error: Exception) -> str:
    cause = getattr(error, "inner_exception", error)  # torch wraps what a compiler says
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
