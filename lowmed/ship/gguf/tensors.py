"""Which tensor of the merged folder becomes which tensor of the GGUF files, and with how many bits.

The names come from the `gguf` package. The layout of the two files is llama.cpp's: matrices in 16 bit or fewer, norms
and biases in 32; of the vision tower, the fused query-key-value matrix in three, and the convolution over two frames as
two over one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType

from lowmed.errors import RunError
from lowmed.ship.gguf.source import Source

_F16_MAX = float(np.finfo(np.float16).max)
_LARGEST = {
    GGMLQuantizationType.F32: float(np.finfo(np.float32).max),
    GGMLQuantizationType.F16: _F16_MAX,
    GGMLQuantizationType.Q8_0: 127 * _F16_MAX,  # a step in F16, up to 127 times
}
_ENDS = (".weight", ".bias")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a GGUF file: `part` of the folder's tensor `plain`, of that shape, stored as `kind`."""

    name: str
    plain: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    part: tuple[Any, ...] = ()

    @property
    def bytes(self) -> int:
        """Its size in the file, without padding."""
        elements, size = gguf.GGML_QUANT_SIZES[self.kind]
        return int(np.prod(self.shape) // elements * size)

    def values(self, source: Source) -> np.ndarray[Any, Any]:
        """Its values as they are stored.

        Raises:
            RunError: one of them is not a finite number in that type.
        """
        whole = source.tensor(self.plain).float().numpy()
        if not max(whole.max(), -whole.min()) <= _LARGEST[self.kind]:  # so that NaN is refused too
            raise RunError(
                f"{self.plain} holds values that {self.kind.name} cannot hold",
                str(source.files[source.names[self.plain]]),
                "serve the merged folder, in bfloat16, with vLLM or transformers instead",
            )
        stored: np.ndarray[Any, Any] = gguf.quants.quantize(np.ascontiguousarray(whole[self.part]), self.kind)
        return stored


def language(source: Source, matrices: GGMLQuantizationType) -> list[Tensor]:
    """The language model, its matrices of that type where their rows fit its blocks, else F16."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2VL, source.config.text_config.num_hidden_layers)
    plain = [name for name in sorted(source.names) if not name.startswith("visual.")]
    if source.config.tie_word_embeddings:
        plain = [
            name for name in plain if name != "lm_head.weight"
        ]  # llama.cpp takes the embedding where there is none
    return [_tensor(_name(names, name), name, source.shape(name), matrices) for name in plain]


def projector(source: Source) -> list[Tensor]:
    """The vision tower with its merger, the file that llama.cpp calls mmproj, in F16."""
    # The package counts the merger's layers 0 and 2 as blocks, so a tower of fewer than three has to pass for more.
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, max(3, source.config.vision_config.depth))
    result: list[Tensor] = []
    for plain in sorted(name for name in source.names if name.startswith("visual.")):
        for name, shape, part in _parts(_name(names, plain), source.shape(plain)):
            result.append(_tensor(name, plain, shape, GGMLQuantizationType.F16, part))
    return result


def _parts(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], tuple[Any, ...]]]:
    if ".attn_qkv." in name:
        rows = shape[0] // 3
        for place, letter in enumerate("qkv"):
            part = slice(place * rows, (place + 1) * rows)
            yield name.replace("attn_qkv", f"attn_{letter}"), (rows, *shape[1:]), (part,)
    elif len(shape) == 5:
        for frame in range(shape[2]):
            end = f".{frame}" if frame else ""
            yield name + end, (*shape[:2], *shape[3:]), (slice(None), slice(None), frame)
    else:
        yield name, shape, ()


def _tensor(
    name: str, plain: str, shape: tuple[int, ...], matrices: GGMLQuantizationType, part: tuple[Any, ...] = ()
) -> Tensor:
    kind = matrices
    if len(shape) == 1:
        kind = GGMLQuantizationType.F32
    elif shape[-1] % gguf.GGML_QUANT_SIZES[matrices][0]:
        kind = GGMLQuantizationType.F16
    return Tensor(name, plain, shape, kind, part)


def _name(names: Any, plain: str) -> str:
    result = names.get_name(plain, try_suffixes=_ENDS)
    if result is None:
        raise RunError(f"GGUF has no name for {plain}", "the installed `gguf` package", "pip install -U gguf")
    return str(result)
