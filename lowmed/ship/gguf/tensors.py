"""The tensors of the GGUF files: names, shapes, types, and the tensors of the merged folder that they come from.

The `gguf` package supplies the names. The layout is llama.cpp's: matrices in 16 bits or fewer, norms and biases in 32.
In the vision tower, the fused query-key-value matrix is split in three, and the convolution over two frames in two.
In Llama, the rows of the query and key matrices are reordered, and a tensor holds the scaling of the rotary embedding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType

from lowmed.errors import RunError
from lowmed.ship.gguf.source import GgufSource

_F16_MAX = float(np.finfo(np.float16).max)
_LARGEST = {
    GGMLQuantizationType.F32: float(np.finfo(np.float32).max),
    GGMLQuantizationType.F16: _F16_MAX,
    GGMLQuantizationType.Q8_0: 127 * _F16_MAX,  # an F16 scale, times an integer of up to 127
}
_SUFFIXES = (".weight", ".bias")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor of a GGUF file.

    Attributes:
        name: in the GGUF file.
        source_name: published name of the tensor that it comes from; "" with `constant`.
        shape: shape of the stored tensor.
        kind: type of the stored values.
        part: index into the source tensor; () for all of it.
        constant: the values, if they come from the config.
    """

    name: str
    source_name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    part: tuple[Any, ...] = ()
    constant: np.ndarray[Any, Any] | None = None

    @property
    def bytes(self) -> int:
        """Size in the file, without padding."""
        elements, size = gguf.GGML_QUANT_SIZES[self.kind]
        return int(np.prod(self.shape) // elements * size)

    def values(self, source: GgufSource) -> np.ndarray[Any, Any]:
        """The stored values.

        Raises:
            RunError: the type cannot represent one of them as a finite number.
        """
        if self.constant is not None:
            return self.constant
        tensor = source.tensor(self.source_name).float().numpy()
        if not max(tensor.max(), -tensor.min()) <= _LARGEST[self.kind]:  # also true for NaN
            raise RunError(
                f"{self.source_name} holds values that {self.kind.name} cannot represent",
                str(source.files[source.stored_names[self.source_name]]),
                "serve the merged folder, in bfloat16, with vLLM or transformers instead",
            )
        stored: np.ndarray[Any, Any] = gguf.quants.quantize(np.ascontiguousarray(tensor[self.part]), self.kind)
        return stored


def architecture(source: GgufSource) -> gguf.MODEL_ARCH:
    """The `gguf` package's constant for the model's family."""
    return next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == source.family.gguf_architecture)


def language_tensors(source: GgufSource, matrices: GGMLQuantizationType) -> list[GgufTensor]:
    """The tensors of the language model; matrices whose rows do not fit the blocks of that type are F16."""
    names = gguf.get_tensor_name_map(architecture(source), source.text.num_hidden_layers)
    language = [name for name in sorted(source.stored_names) if not source.family.in_vision_tower(name)]
    if source.config.tie_word_embeddings:
        language = [name for name in language if name != "lm_head.weight"]  # llama.cpp uses the embedding instead
    tensors = [
        _tensor(_gguf_name(names, name), name, source.shape(name), matrices, _rows(source, name)) for name in language
    ]
    if source.text.rope_parameters["rope_type"] == "llama3":
        factors = _rope_factors(source)
        name = f"{gguf.TENSOR_NAMES[gguf.MODEL_TENSOR.ROPE_FREQS]}.weight"
        tensors.append(GgufTensor(name, "", factors.shape, GGMLQuantizationType.F32, constant=factors))
    return tensors


def projector_tensors(source: GgufSource) -> list[GgufTensor]:
    """The tensors of the vision tower with its merger, in F16; llama.cpp calls this file mmproj."""
    # The package counts the merger's layers 0 and 2 as blocks, so a tower needs at least three.
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, max(3, source.config.vision_config.depth))
    tensors: list[GgufTensor] = []
    for source_name in sorted(name for name in source.stored_names if source.family.in_vision_tower(name)):
        for name, shape, part in _split(_gguf_name(names, source_name), source.shape(source_name)):
            tensors.append(_tensor(name, source_name, shape, GGMLQuantizationType.F16, part))
    return tensors


def _rows(source: GgufSource, name: str) -> tuple[Any, ...]:
    """The order of a matrix's rows: () but for queries and keys of Llama.

    transformers rotates row i of a head with row i + half, llama.cpp's Llama rotates neighbors.
    """
    heads = {"q_proj": source.text.num_attention_heads, "k_proj": source.text.num_key_value_heads}
    module = name.split(".")[-2]
    if source.family.gguf_architecture != "llama" or module not in heads:
        return ()
    rows = np.arange(source.shape(name)[0])
    return (rows.reshape(heads[module], 2, -1).swapaxes(1, 2).reshape(-1),)


def _rope_factors(source: GgufSource) -> np.ndarray[Any, Any]:
    """By how much Llama 3.1 divides each frequency of the rotary embedding.

    Source: `_compute_llama3_parameters` of transformers. Long wavelengths are divided by `factor`, short ones are kept,
    and those between are interpolated.
    """
    rope = source.text.rope_parameters
    exponents = np.arange(0, source.head_dim, 2) / source.head_dim
    wavelengths = 2 * np.pi * rope["rope_theta"] ** exponents
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = np.clip((rope["original_max_position_embeddings"] / wavelengths - low) / (high - low), 0, 1)
    factors: np.ndarray[Any, Any] = 1 / ((1 - kept) / rope["factor"] + kept)
    return factors.astype(np.float32)


def _split(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], tuple[Any, ...]]]:
    """The tensors that one tensor of the vision tower becomes: name, shape, index."""
    if ".attn_qkv." in name:
        rows = shape[0] // 3
        for position, letter in enumerate("qkv"):
            part = slice(position * rows, (position + 1) * rows)
            yield name.replace("attn_qkv", f"attn_{letter}"), (rows, *shape[1:]), (part,)
    elif len(shape) == 5:
        for frame in range(shape[2]):
            suffix = f".{frame}" if frame else ""
            yield name + suffix, (*shape[:2], *shape[3:]), (slice(None), slice(None), frame)
    else:
        yield name, shape, ()


def _tensor(
    name: str,
    source_name: str,
    shape: tuple[int, ...],
    matrices: GGMLQuantizationType,
    part: tuple[Any, ...] = (),
) -> GgufTensor:
    kind = matrices
    if len(shape) == 1:
        kind = GGMLQuantizationType.F32
    elif shape[-1] % gguf.GGML_QUANT_SIZES[matrices][0]:
        kind = GGMLQuantizationType.F16
    return GgufTensor(name, source_name, shape, kind, part)


def _gguf_name(names: Any, source_name: str) -> str:
    name = names.get_name(source_name, try_suffixes=_SUFFIXES)
    if name is None:
        raise RunError(f"GGUF has no name for {source_name}", "the installed `gguf` package", "pip install -U gguf")
    return str(name)
