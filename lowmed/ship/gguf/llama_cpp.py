"""llama.cpp through its published Python bindings: a prompt with images, then one token at a time, with the logits.

The bindings' own chat class samples, pads and hides the logits; a comparison token by token needs the few calls below.
"""

import contextlib
import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import torch
from llama_cpp import mtmd_cpp
from PIL import Image

from lowmed.errors import SetupError

Logits = np.ndarray[tuple[int], np.dtype[np.float32]]
MARKER = mtmd_cpp.mtmd_default_marker().decode()


_UNHEARD = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)  # kept here, since llama.cpp keeps it too


def hush() -> None:
    """Keep llama.cpp's log off the terminal, where it writes by itself."""
    for setter in (llama_cpp.llama_log_set, mtmd_cpp.mtmd_log_set, mtmd_cpp.mtmd_helper_log_set):
        setter(_UNHEARD, ctypes.c_void_p(0))


class Llama:
    """A language file with its projector, loaded by llama.cpp on the CPU with its default settings.

    Raises:
        SetupError: llama.cpp does not load one of the files.
    """

    def __init__(self, language: Path, projector: Path, context_tokens: int, image_tokens: tuple[int, int]) -> None:
        hush()
        self._open = contextlib.ExitStack()
        settings = llama_cpp.llama_model_default_params()
        settings.n_gpu_layers = 0
        self._model = self._loaded(llama_cpp.llama_model_load_from_file(str(language).encode(), settings), language)
        self._open.callback(llama_cpp.llama_model_free, self._model)
        context = llama_cpp.llama_context_default_params()
        context.n_ctx = context_tokens
        context.n_threads = context.n_threads_batch = torch.get_num_threads()
        self._context = self._loaded(llama_cpp.llama_init_from_model(self._model, context), language)
        self._open.callback(llama_cpp.llama_free, self._context)
        vision = mtmd_cpp.mtmd_context_params_default()
        vision.use_gpu, vision.print_timings, vision.warmup = False, False, False
        vision.n_threads = torch.get_num_threads()
        vision.image_min_tokens, vision.image_max_tokens = image_tokens
        made = mtmd_cpp.mtmd_init_from_file(str(projector).encode(), self._model, vision)
        self._vision = self._loaded(made, projector)
        self._open.callback(mtmd_cpp.mtmd_free, self._vision)
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._place = 0

    def _loaded(self, handle: Any, path: Path) -> Any:
        if not handle:
            self._open.close()
            raise SetupError("llama.cpp does not load this file", str(path), "export it again, or update llama.cpp")
        return handle

    def __enter__(self) -> "Llama":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def prompt(self, text: str, images: Sequence[Image.Image], image_token: int) -> tuple[list[int], Logits]:
        """Forget what was before, read the prompt, and return its tokens and the logits of its end.

        Args:
            text: the prompt after the chat template, `MARKER` where an image stands.
            images: one per marker.
            image_token: the token that stands in the returned list for every piece of an image.
        """
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        with contextlib.ExitStack() as open_now:
            pictures = []
            for image in images:
                colours = image.convert("RGB").tobytes()
                data = (ctypes.c_uint8 * len(colours)).from_buffer_copy(colours)
                pictures.append(mtmd_cpp.mtmd_bitmap_init(image.width, image.height, data))
                open_now.callback(mtmd_cpp.mtmd_bitmap_free, pictures[-1])
            chunks = mtmd_cpp.mtmd_input_chunks_init()
            open_now.callback(mtmd_cpp.mtmd_input_chunks_free, chunks)
            raw = text.encode()
            asked = mtmd_cpp.mtmd_input_text(raw, len(raw), True, True)
            array = (mtmd_cpp.mtmd_bitmap_p_ctypes * len(pictures))(*pictures)
            failed = mtmd_cpp.mtmd_tokenize(self._vision, chunks, ctypes.byref(asked), array, len(pictures))
            if failed:
                raise RuntimeError(f"llama.cpp could not split the prompt: mtmd_tokenize returned {failed}")
            after = llama_cpp.llama_pos(0)
            size = llama_cpp.llama_n_batch(self._context)
            failed = mtmd_cpp.mtmd_helper_eval_chunks(
                self._vision, self._context, chunks, 0, 0, size, True, ctypes.byref(after)
            )
            if failed:
                raise RuntimeError(f"llama.cpp could not read the prompt: mtmd_helper_eval_chunks returned {failed}")
            self._place = after.value
            return _tokens(chunks, image_token), self._logits()

    def step(self, token: int) -> Logits:
        """Go on with that token and return the logits of the next one, in float32."""
        batch = llama_cpp.llama_batch_init(1, 0, 1)
        batch.n_tokens, batch.token[0], batch.pos[0] = 1, token, self._place
        batch.n_seq_id[0], batch.seq_id[0][0], batch.logits[0] = 1, 0, True
        failed = llama_cpp.llama_decode(self._context, batch)
        llama_cpp.llama_batch_free(batch)
        if failed:
            raise RuntimeError(f"llama.cpp could not go on: llama_decode returned {failed}")
        self._place += 1
        return self._logits()

    def _logits(self) -> Logits:
        last = llama_cpp.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(last, (self._vocabulary,)).copy()


def _tokens(chunks: Any, image_token: int) -> list[int]:
    result: list[int] = []
    for place in range(mtmd_cpp.mtmd_input_chunks_size(chunks)):
        chunk = mtmd_cpp.mtmd_input_chunks_get(chunks, place)
        if mtmd_cpp.mtmd_input_chunk_get_type(chunk) == mtmd_cpp.MTMD_INPUT_CHUNK_TYPE_TEXT:
            count = ctypes.c_size_t()
            tokens = mtmd_cpp.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
            result += tokens[: count.value]
        else:
            result += [image_token] * mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk)
    return result
