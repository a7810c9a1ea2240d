"""Export to GGUF: the merged model as llama.cpp and what is built on it (Ollama, LM Studio) read it."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lowmed.data.image.policy import TOKEN_SIDE_PX
from lowmed.errors import SetupError
from lowmed.files import disk_errors
from lowmed.ship.gguf.source import image_settings, open_source

Kind = Literal["f16", "q8_0", "q4_k_m"]


def write(folder: Path, out: Path, kinds: Sequence[Kind] = ("f16", "q8_0"), *, name: str | None = None) -> list[Path]:
    """Write the language model once per kind, and the vision projector in F16.

    A file appears under its name when it is complete; one of that name is replaced. One tensor is in memory at a time.

    Args:
        folder: a merged 16-bit Hugging Face folder of a Qwen2-VL.
        out: folder of the files, made when absent.
        kinds: `f16`, `q8_0`; `q4_k_m` needs llama.cpp's own quantiser, from llama-cpp-python.
        name: what the files are called; the folder's name when open.

    Returns:
        <name>-<kind>.gguf in the order of `kinds`, then mmproj-<name>-f16.gguf.

    Raises:
        SetupError: the `gguf` extra or the quantiser is missing, or the disk is too small.
        RunError: llama.cpp cannot run this model, or the folder is not complete.
    """
    if find_spec("gguf") is None:
        raise SetupError("the package `gguf` is not installed", "GGUF export", "pip install 'lowmed[gguf]'")
    if "q4_k_m" in kinds and not can_quantise():
        raise SetupError(
            "Q4_K_M needs llama.cpp's quantiser, and llama-cpp-python is not installed",
            "GGUF export",
            "pip install llama-cpp-python, or leave q4_k_m out",
        )
    from gguf import GGMLQuantizationType, LlamaFileType

    from lowmed.ship.gguf import tensors, writer

    source, name = open_source(folder), name or folder.resolve().name
    f16, q8_0 = (tensors.language(source, kind) for kind in (GGMLQuantizationType.F16, GGMLQuantizationType.Q8_0))
    vision = tensors.projector(source)
    of_kinds = [tensor for kind in kinds for tensor in (q8_0 if kind == "q8_0" else f16)]
    _check_space(out, sum(tensor.bytes for tensor in vision + of_kinds))

    written = [out / f"{name}-{kind}.gguf" for kind in kinds] + [out / f"mmproj-{name}-f16.gguf"]
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for path, kind in zip(written, kinds, strict=False):
            with _complete(path) as partial:
                if kind == "q8_0":
                    writer.write_language(source, q8_0, partial, name, LlamaFileType.MOSTLY_Q8_0)
                    continue
                writer.write_language(source, f16, partial, name, LlamaFileType.MOSTLY_F16)
                if kind == "q4_k_m":
                    _quantise(partial)
        with _complete(written[-1]) as partial:
            writer.write_projector(source, vision, partial, name)
    return written


def can_quantise() -> bool:
    """Whether llama.cpp's own quantiser is on this machine, for Q4_K_M."""
    return find_spec("llama_cpp") is not None


def image_tokens(folder: Path) -> tuple[int, int]:
    """The fewest and the most tokens that the folder's pixel policy lets an image be.

    llama.cpp reads neither from a Qwen2-VL's files and has 8 and 4096 of its own, so that whoever serves the model has
    to say `--image-min-tokens` and `--image-max-tokens`.

    Raises:
        RunError: the folder has no readable image processor.
    """
    fewest, most = image_settings(folder)["pixels"]
    return fewest // TOKEN_SIDE_PX**2, most // TOKEN_SIDE_PX**2


@contextlib.contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """A place to write a file aside, which takes its name once it is complete."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".gguf-") as aside:
        yield Path(aside) / path.name
        (Path(aside) / path.name).replace(path)


def _quantise(path: Path) -> None:
    """Turn an F16 file into Q4_K_M, in place, as llama.cpp does it without an importance matrix."""
    import llama_cpp

    from lowmed.ship.gguf import llama_cpp as gguf_llama

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
    smaller = path.with_suffix(".smaller")
    gguf_llama.hush()
    failed = llama_cpp.llama_model_quantize(str(path).encode(), str(smaller).encode(), settings)
    if failed:
        raise SetupError("llama.cpp's quantiser failed", str(path), "leave q4_k_m out")
    smaller.replace(path)


def _check_space(out: Path, needed: int) -> None:
    there = next(place for place in [out, *out.absolute().parents] if place.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise SetupError(
            f"the files take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            str(out),
            "free some space, or write fewer kinds",
        )
