"""llama.cpp through llama-cpp-python: read a prompt with images, then decode token by token and return the logits.

The chat class of llama-cpp-python samples, pads and hides the logits, so this module calls the C functions.
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
# A global, because llama.cpp keeps a pointer to it.
_IGNORE_LOG = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)


def silence() -> None:
    """Stop llama.cpp from writing its log to the terminal."""
    for setter in (llama_cpp.llama_log_set, mtmd_cpp.mtmd_log_set, mtmd_cpp.mtmd_helper_log_set):
        setter(_IGNORE_LOG, ctypes.c_void_p(0))


class Llama:
    """A language model and its projector, loaded by llama.cpp on the CPU with default settings.

    Args:
        language: GGUF file of the language model.
        projector: its mmproj file.
        context_tokens: size of the context.
        image_tokens: minimum and maximum number of tokens of an image.

    Raises:
        SetupError: llama.cpp does not load one of the files.
    """

    def __init__(self, language: Path, projector: Path, context_tokens: int, image_tokens: tuple[int, int]) -> None:
        silence()
        self._resources = contextlib.ExitStack()
        settings = llama_cpp.llama_model_default_params()
        settings.n_gpu_layers = 0
        self._model = self._require(llama_cpp.llama_model_load_from_file(str(language).encode(), settings), language)
        self._resources.callback(llama_cpp.llama_model_free, self._model)
        context = llama_cpp.llama_context_default_params()
        context.n_ctx = context_tokens
        context.n_threads = context.n_threads_batch = torch.get_num_threads()
        self._context = self._require(llama_cpp.llama_init_from_model(self._model, context), language)
        self._resources.callback(llama_cpp.llama_free, self._context)
        vision = mtmd_cpp.mtmd_context_params_default()
        vision.use_gpu, vision.print_timings, vision.warmup = False, False, False
        vision.n_threads = torch.get_num_threads()
        vision.image_min_tokens, vision.image_max_tokens = image_tokens
        handle = mtmd_cpp.mtmd_init_from_file(str(projector).encode(), self._model, vision)
        self._vision = self._require(handle, projector)
        self._resources.callback(mtmd_cpp.mtmd_free, self._vision)
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._position = 0

    def _require(self, handle: Any, path: Path) -> Any:
        if not handle:
            self._resources.close()
            raise SetupError("llama.cpp does not load this file", str(path), "export it again, or update llama.cpp")
        return handle

    def __enter__(self) -> "Llama":
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def prompt(self, text: str, images: Sequence[Image.Image], image_token: int) -> tuple[list[int], Logits]:
        """Clear the KV cache and read a prompt. Returns its tokens and the logits after the last one.

        Args:
            text: the rendered prompt, with `MARKER` for each image.
            images: one for each marker.
            image_token: the token id that represents an image's tokens in the returned list.
        """
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        with contextlib.ExitStack() as resources:
            bitmaps = []
            for image in images:
                pixels = image.convert("RGB").tobytes()
                data = (ctypes.c_uint8 * len(pixels)).from_buffer_copy(pixels)
                bitmaps.append(mtmd_cpp.mtmd_bitmap_init(image.width, image.height, data))
                resources.callback(mtmd_cpp.mtmd_bitmap_free, bitmaps[-1])
            chunks = mtmd_cpp.mtmd_input_chunks_init()
            resources.callback(mtmd_cpp.mtmd_input_chunks_free, chunks)
            raw = text.encode()
            prompt = mtmd_cpp.mtmd_input_text(raw, len(raw), True, True)
            array = (mtmd_cpp.mtmd_bitmap_p_ctypes * len(bitmaps))(*bitmaps)
            failed = mtmd_cpp.mtmd_tokenize(self._vision, chunks, ctypes.byref(prompt), array, len(bitmaps))
            if failed:
                raise RuntimeError(f"llama.cpp could not tokenize the prompt: mtmd_tokenize returned {failed}")
            end = llama_cpp.llama_pos(0)
            size = llama_cpp.llama_n_batch(self._context)
            failed = mtmd_cpp.mtmd_helper_eval_chunks(
                self._vision, self._context, chunks, 0, 0, size, True, ctypes.byref(end)
            )
            if failed:
                raise RuntimeError(f"llama.cpp could not read the prompt: mtmd_helper_eval_chunks returned {failed}")
            self._position = end.value
            return _tokens(chunks, image_token), self._logits()

    def step(self, token: int) -> Logits:
        """Append a token and return the logits of the next one, float32."""
        batch = llama_cpp.llama_batch_init(1, 0, 1)
        batch.n_tokens, batch.token[0], batch.pos[0] = 1, token, self._position
        batch.n_seq_id[0], batch.seq_id[0][0], batch.logits[0] = 1, 0, True
        failed = llama_cpp.llama_decode(self._context, batch)
        llama_cpp.llama_batch_free(batch)
        if failed:
            raise RuntimeError(f"llama.cpp could not decode a token: llama_decode returned {failed}")
        self._position += 1
        return self._logits()

    def _logits(self) -> Logits:
        last = llama_cpp.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(last, (self._vocabulary,)).copy()


def _tokens(chunks: Any, image_token: int) -> list[int]:
    tokens: list[int] = []
    for number in range(mtmd_cpp.mtmd_input_chunks_size(chunks)):
        chunk = mtmd_cpp.mtmd_input_chunks_get(chunks, number)
        if mtmd_cpp.mtmd_input_chunk_get_type(chunk) == mtmd_cpp.MTMD_INPUT_CHUNK_TYPE_TEXT:
            count = ctypes.c_size_t()
            text = mtmd_cpp.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
            tokens += text[: count.value]
        else:
            tokens += [image_token] * mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk)
    return tokens
