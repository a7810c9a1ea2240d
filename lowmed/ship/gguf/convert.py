"""Convert a merged folder to GGUF files, which llama.cpp, Ollama and LM Studio read."""

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


def write_gguf(
    folder: Path, out: Path, kinds: Sequence[Kind] = ("f16", "q8_0"), *, name: str | None = None
) -> list[Path]:
    """Write the language model once per kind, and the vision projector, if there is one, in F16.

    Each file is written under a temporary name and renamed when complete; an existing file of that name is replaced.
    One tensor is in memory at a time.

    Args:
        folder: a merged 16-bit Hugging Face folder of a family with a `gguf_architecture`.
        out: folder of the files; created if absent.
        kinds: `f16`, `q8_0`, or `q4_k_m`, which needs llama.cpp's quantizer from llama-cpp-python.
        name: name of the files; None for the folder's name.

    Returns:
        <name>-<kind>.gguf in the order of `kinds`, then mmproj-<name>-f16.gguf, unless the model is text-only.

    Raises:
        SetupError: the `gguf` extra or the quantizer is missing, or the disk is too small.
        RunError: llama.cpp cannot run this model, or the folder is incomplete.
    """
    require_package()
    if "q4_k_m" in kinds and not can_quantize():
        raise SetupError(
            "Q4_K_M needs llama.cpp's quantizer, and llama-cpp-python is not installed",
            "GGUF export",
            "pip install llama-cpp-python, or omit q4_k_m",
        )
    from gguf import GGMLQuantizationType, LlamaFileType

    from lowmed.ship.gguf import tensors, writer

    source, name = open_source(folder), name or folder.resolve().name
    f16, q8_0 = (
        tensors.language_tensors(source, kind) for kind in (GGMLQuantizationType.F16, GGMLQuantizationType.Q8_0)
    )
    projector = [] if source.family.text_only else tensors.projector_tensors(source)
    language = [tensor for kind in kinds for tensor in (q8_0 if kind == "q8_0" else f16)]
    _require_space(out, sum(tensor.bytes for tensor in projector + language))

    files = [out / f"{name}-{kind}.gguf" for kind in kinds]
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for path, kind in zip(files, kinds, strict=True):
            with _renamed_when_complete(path) as partial:
                if kind == "q8_0":
                    writer.write_language(source, q8_0, partial, name, LlamaFileType.MOSTLY_Q8_0)
                    continue
                writer.write_language(source, f16, partial, name, LlamaFileType.MOSTLY_F16)
                if kind == "q4_k_m":
                    _quantize(partial)
        if projector:
            files.append(out / f"mmproj-{name}-f16.gguf")
            with _renamed_when_complete(files[-1]) as partial:
                writer.write_projector(source, projector, partial, name)
    return files


def require_package() -> None:
    """Check that the extra `gguf` is installed.

    Raises:
        SetupError: it is not.
    """
    if find_spec("gguf") is None:
        raise SetupError("the package `gguf` is not installed", "GGUF export", "pip install 'lowmed[gguf]'")


def can_quantize() -> bool:
    """Whether llama.cpp's quantizer is installed, which Q4_K_M needs."""
    return find_spec("llama_cpp") is not None


def image_token_limits(folder: Path) -> tuple[int, int]:
    """The minimum and maximum number of tokens of an image under the folder's pixel policy.

    llama.cpp reads neither from the files of a Qwen2-VL, and its own defaults are 8 and 4096. The server must therefore
    be started with `--image-min-tokens` and `--image-max-tokens`.

    Raises:
        RunError: the folder has no readable image processor.
    """
    fewest, most = image_settings(folder)["pixels"]
    return fewest // TOKEN_SIDE_PX**2, most // TOKEN_SIDE_PX**2


@contextlib.contextmanager
def _renamed_when_complete(path: Path) -> Iterator[Path]:
    """A temporary path next to `path`, which is renamed to it at the end."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".gguf-") as staging:
        yield Path(staging) / path.name
        (Path(staging) / path.name).replace(path)


def _quantize(path: Path) -> None:
    """Quantize an F16 file to Q4_K_M in place, without an importance matrix."""
    import llama_cpp

    from lowmed.ship.gguf.llama_cpp import silence

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
    smaller = path.with_suffix(".smaller")
    silence()
    failed = llama_cpp.llama_model_quantize(str(path).encode(), str(smaller).encode(), settings)
    if failed:
        raise SetupError("llama.cpp's quantizer failed", str(path), "omit q4_k_m")
    smaller.replace(path)


def _require_space(out: Path, needed: int) -> None:
    existing = next(folder for folder in [out, *out.absolute().parents] if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise SetupError(
            f"the files take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            str(out),
            "free some space, or write fewer kinds",
        )
