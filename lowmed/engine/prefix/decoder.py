"""Decoding token by token, on a GPU by CUDA graphs, because starting a kernel takes longer than most of them run.

All tensors of a step have fixed addresses: cache, inputs, logits, and copies of the adapter that are renewed for every
batch of completions. A graph is captured at the first step of each size. There are few sizes: all rows, half of them,
and so on, and windows of the cache. The first replay must give the logits of the step without a graph. If it does not,
or a step cannot be captured, decoding goes on without graphs after one line on stderr.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from lowmed.engine.prefix.decode import decode_step, language_model
from lowmed.engine.prefix.kv_cache import KVCache, allocate
from lowmed.engine.prefix.linear import LayerLinears, adapter_state, dequantized
from lowmed.errors import first_line
from lowmed.plan.memory import CACHE_BLOCK_TOKENS

GRAPH_TOLERANCE = 0.02  # of the largest logit: far above the rounding of 16 bits, far below a wrong result


@dataclass
class _Buffers:
    """The inputs and outputs of a step.

    Attributes:
        tokens: [rows].
        rotation: [2, rows, 1, width].
        position: [1].
        logits: [rows, vocabulary].
    """

    tokens: torch.Tensor
    rotation: torch.Tensor
    position: torch.Tensor
    logits: torch.Tensor


class Decoder:
    """Reads one token of all rows at a time. It belongs to one model.

    Args:
        use_graphs: capture steps as CUDA graphs.
        keeps_cache: keep the cache, and the graphs over it, for the next batch of completions.
        dequantizes: keep the weights of a 4-bit model in 16 bit too, and decode with these.
    """

    def __init__(self, use_graphs: bool = False, keeps_cache: bool = False, dequantizes: bool = False) -> None:
        self.use_graphs = use_graphs
        self.keeps_cache = keeps_cache
        self.dequantizes = dequantizes
        self._dequantized: dict[Any, Any] = {}
        self._core: Any = None
        self._linears: list[LayerLinears] = []
        self._adapters: list[tuple[Any, ...]] = []
        self._cache: KVCache | None = None
        self._buffers: _Buffers | None = None
        self._graphs: dict[tuple[int, int], Any] = {}
        self._pool: Any = None

    @property
    def block(self) -> int:
        """The length of a window of the cache is a multiple of this."""
        return CACHE_BLOCK_TOKENS["cuda_graphs" if self.use_graphs else "transformers"]

    def begin(
        self, core: Any, prefill: DynamicCache, mask: torch.Tensor, prompt_of_row: torch.Tensor, new_tokens: int
    ) -> None:
        """Give each row a copy of the cache of its prompt, and space for more tokens.

        Args:
            core: the model.
            prefill: cache of the distinct prompts.
            mask: [prompts, tokens], False for padding.
            prompt_of_row: index of the prompt of each row.
            new_tokens: tokens to reserve space for.
        """
        self._read_weights(core)
        rows, capacity = len(prompt_of_row), _round_up(mask.shape[1] + new_tokens, self.block)
        cache = self._cache
        if cache is None or rows > cache.rows or capacity > cache.capacity:
            if cache is not None:
                rows, capacity = max(rows, cache.rows), max(capacity, cache.capacity)
            del cache
            self._free_cache()  # before a larger one is allocated
            cache = self._cache = allocate(prefill, rows, capacity)
        cache.write_prefill(prefill, mask, prompt_of_row)

    def read(self, tokens: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        """Read one token of each row, and predict the next one.

        Args:
            tokens: [rows]; the first rows of the cache.
            rotation: rotary embedding of the token, one step of `decode.rotary`.

        Returns:
            Logits [rows, vocabulary], until the next call.
        """
        cache = self._cache
        assert cache is not None
        if self._buffers is None:
            self._buffers = self._allocate_buffers(cache, rotation)
        buffers, count = self._buffers, len(tokens)
        buffers.tokens[:count] = tokens
        buffers.rotation[:, :count] = rotation
        buffers.position.fill_(cache.add_token())
        length = _round_up(cache.length, self.block)
        if self.use_graphs:
            self._replay(_size(count, cache.rows), length)
        else:
            self._compute(count, length)
        return buffers.logits[:count]

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Drop all other rows."""
        assert self._cache is not None
        self._cache.keep_rows(rows)

    def end(self) -> None:
        """Free everything after a batch of completions, unless the cache is kept."""
        if not self.keeps_cache:
            self.free()

    def free(self) -> None:
        """Free the cache, the graphs over it and the copies of the adapter. A 16-bit copy of the base stays."""
        self._free_cache()
        self._core, self._linears = None, []

    def _free_cache(self) -> None:
        self._graphs, self._pool = {}, None
        self._cache = self._buffers = None

    def _read_weights(self, core: Any) -> None:
        """Copy the adapter. After a change of the active adapter or of the model, all graphs are captured again."""
        language = language_model(core)
        state = adapter_state(language)
        if core is self._core and self._adapters == state:
            for layer in self._linears:
                layer.renew()
            return
        self.free()
        self._core, self._adapters = core, state
        dtype = language.embed_tokens.weight.dtype
        self._linears = [LayerLinears(layer, dtype, self._base_of) for layer in language.layers]

    def _base_of(self, layer: Any) -> Any:
        if not self.dequantizes:
            return layer
        if layer not in self._dequantized:
            self._dequantized[layer] = dequantized(layer)
        return self._dequantized[layer]

    def _allocate_buffers(self, cache: KVCache, rotation: torch.Tensor) -> _Buffers:
        head = self._core.lm_head.weight
        _two, _rows, *rest = rotation.shape
        return _Buffers(
            torch.zeros(cache.rows, dtype=torch.long, device=head.device),
            rotation.new_zeros((2, cache.rows, *rest)),
            torch.zeros(1, dtype=torch.long, device=head.device),
            torch.zeros((cache.rows, len(head)), dtype=head.dtype, device=head.device),
        )

    def _compute(self, rows: int, length: int) -> None:
        """Compute the logits of the first rows from the first tokens of the cache."""
        cache, buffers = self._cache, self._buffers
        assert cache is not None
        assert buffers is not None
        keys, values = ([tensor[:rows, :, :length] for tensor in tensors] for tensors in (cache.keys, cache.values))
        inputs = buffers.tokens[:rows], buffers.rotation[:, :rows], cache.bias[:rows, :, :, :length], buffers.position
        buffers.logits[:rows] = decode_step(self._core, self._linears, *inputs, keys, values)

    def _replay(self, rows: int, length: int) -> None:
        """As `_compute`, by a graph."""
        if (rows, length) in self._graphs:
            self._graphs[rows, length].replay()
            return
        assert self._buffers is not None
        self._compute(rows, length)  # also loads and selects the kernels, which is not possible during a capture
        expected = self._buffers.logits[:rows].clone()
        try:
            graph = self._capture(lambda: self._compute(rows, length))
            graph.replay()
            largest = float(expected.abs().max())
            difference = float((self._buffers.logits[:rows] - expected).abs().max())
            problem = None if difference <= GRAPH_TOLERANCE * largest else "a graph gave other logits"
        except RuntimeError as error:
            problem = first_line(error)
        if problem is None:
            self._graphs[rows, length] = graph
            return
        self._buffers.logits[:rows] = expected
        self._graphs, self._pool, self.use_graphs = {}, None, False
        logging.getLogger("lowmed").warning(f"decoding goes on without CUDA graphs, more slowly: {problem}")

    def _capture(self, step: Callable[[], None]) -> Any:
        """A CUDA graph of a step. All graphs share their memory, because they run one after the other."""
        stream = torch.cuda.current_stream()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads of the process, such as those of a judge, must not break the capture.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                step()
        finally:
            torch.cuda.set_stream(stream)  # a failed capture leaves its own
        return graph


def _round_up(count: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-count // step) * step


def _size(count: int, rows: int) -> int:
    """The smallest number of rows with a graph that has a place for `count` rows: all, half of them, and so on."""
    size = rows
    while size > 1 and -(-size // 2) >= count:
        size = -(-size // 2)
    return size
