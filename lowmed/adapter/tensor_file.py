"""The header of a safetensors file: the dtype, the shape and the place of every tensor."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lowmed.errors import RunError

_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class TensorLocation:
    """The file of a tensor, its dtype and shape, and its byte range in that file."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


def file_tensors(file: Path) -> dict[str, TensorLocation]:
    """Every tensor of one safetensors file.

    The format documents the layout: eight bytes of header length, a JSON header, the data.

    Raises:
        RunError: the file is damaged or truncated.
    """
    header, data_start = read_header(file)
    return {
        name: TensorLocation(
            file.name, entry["dtype"], tuple(entry["shape"]), *(data_start + at for at in entry["data_offsets"])
        )
        for name, entry in header.items()
    }


def read_header(file: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file without its metadata, and the offset of the data.

    Raises:
        RunError: the file is damaged or truncated.
    """
    try:
        with safe_open(file, "np"):
            pass  # checks the header against the size of the file
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header: dict[str, Any] = json.loads(stream.read(length))
    except (SafetensorError, OSError, ValueError, struct.error, RecursionError) as error:
        if is_lfs_pointer(file):
            raise RunError(
                "the weights are a pointer of Git LFS, not the file itself", str(file), "download it: git lfs pull"
            ) from error
        raise RunError(
            f"the weights are damaged or truncated: {error}", str(file), "copy or download the file again"
        ) from error
    header.pop("__metadata__", None)
    return header, 8 + length


def is_lfs_pointer(file: Path) -> bool:
    """Whether a file is the text that Git LFS leaves where a large file was not downloaded."""
    try:
        with file.open("rb") as stream:
            return stream.read(len(_LFS_POINTER)) == _LFS_POINTER
    except OSError:
        return False
