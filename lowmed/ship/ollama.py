"""Export target `ollama`: GGUF files with a Modelfile."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoProcessor, GenerationConfig

from lowmed.data.image.policy import TOKEN_SIDE_PX
from lowmed.engine.own_code import own_code_refused
from lowmed.errors import RunError
from lowmed.files import write_text
from lowmed.models import ModelFamily, family_of
from lowmed.report.console import NOTICE
from lowmed.run import open_run
from lowmed.ship.export import ExportRequest
from lowmed.ship.gguf.convert import image_token_limits
from lowmed.ship.gguf.export import export_for_llama_cpp
from lowmed.ship.records import PACKAGE, ExportReport, read_versioned

CONTEXT_TOKENS = 4096
MODELFILE = "Modelfile"
# A chat with every kind of turn. Its rendering shows whether the folder's chat template is the family's.
_EXAMPLE_CHAT = [
    {"role": "user", "content": [{"type": "text", "text": "first"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "second"}]},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "third"}]},
]
_EXAMPLE_RENDERING = """\
{system}<|im_start|>user
first<|im_end|>
<|im_start|>assistant
second<|im_end|>
<|im_start|>user
{image}third<|im_end|>
<|im_start|>assistant
"""


def export_ollama(request: ExportRequest) -> ExportReport:
    """Write the GGUF files and a Modelfile.

    Raises:
        LowmedError: the extra `gguf` is missing, the model is not supported, the prompts pre-fill the assistant's turn
            or have a system message that a Modelfile cannot quote, or the merge is not possible.
    """
    prompts = _prompts(request)
    _require_no_prefill(request, prompts["prefill"])
    _require_quotable(request, prompts["system"])
    report = export_for_llama_cpp(request, partial(write_modelfile, system=prompts["system"]))
    if not report.passed:
        return report
    return replace(report, instructions=f"ollama create NAME -f {report.out}/{MODELFILE}")


def write_modelfile(folder: Path, files: Sequence[Path], out: Path, system: str = "") -> Path:
    """Write `Modelfile`: greedy decoding, with the chat template and the end tokens of training.

    Args:
        folder: the merged folder that the files were converted from.
        files: the result of `write_gguf`: language models first, projector last. The first one is served.
        out: the folder that holds the files.
        system: the system message of training, if it had one.

    Raises:
        RunError: lowmed has no Ollama template for the folder's chat template.
        SetupError: the disk does not allow it.
    """
    with own_code_refused(folder):
        family = family_of(AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type, str(folder))
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    rendering = processor.apply_chat_template(_EXAMPLE_CHAT, tokenize=False, add_generation_prompt=True)
    expected = _EXAMPLE_RENDERING.format(system=family.system_turn, image=family.image_placeholder)
    if family.ollama_template is None or rendering != expected:
        raise RunError(
            f"the chat template is not the published one of {family.title}, the only one with an Ollama template",
            str(folder / "chat_template.jinja"),
            "export to gguf, and write the Modelfile's TEMPLATE by hand",
        )
    path = out / MODELFILE
    write_text(path, _modelfile(family, processor.tokenizer, folder, files, system))
    return path


def _require_quotable(request: ExportRequest, system: str) -> None:
    if '"""' in system or system.endswith('"'):
        raise RunError(
            "the system message contains quotes that would end it in a Modelfile",
            f"{request.source}, prompts.system",
            "export to gguf, whose example.py sends the system message to llama-server",
        )


def _prompts(request: ExportRequest) -> dict[str, str]:
    """Prefill and system message of the prompts for inference."""
    if request.is_exported:
        infer = read_versioned(Path(request.source) / PACKAGE)["prompts"]["infer"]
        return {name: infer.get(name, "") for name in ("prefill", "system")}
    prompts = open_run(request.source).recipe.prompts
    return {"prefill": prompts.prefill, "system": prompts.system}


def _require_no_prefill(request: ExportRequest, prefill: str) -> None:
    if prefill:
        raise RunError(
            f"the prompts pre-fill the assistant's turn ({prefill!r}), which lowmed's Ollama template cannot do",
            request.source,
            "export to gguf, whose example.py sends the prefill to llama-server",
        )


def _modelfile(family: ModelFamily, tokenizer: Any, folder: Path, files: Sequence[Path], system: str) -> str:
    _, most = image_token_limits(folder)
    parameters = {
        "temperature": ["0"],
        "repeat_penalty": ["1"],  # no penalty, as in `lowmed eval`
        "num_ctx": [str(CONTEXT_TOKENS)],
        "stop": [f'"{token}"' for token in _end_tokens(tokenizer, folder)],
    }
    lines = [
        f"# {NOTICE}",
        "# Create the model: ollama create NAME -f Modelfile",
        f"# Send images with sides divisible by {TOKEN_SIDE_PX} and at most {most} x {TOKEN_SIDE_PX**2} pixels.",
        *(f"FROM ./{file.name}" for file in (files[0], files[-1])),
        *(f"PARAMETER {name} {value}" for name, values in parameters.items() for value in values),
        *([f'SYSTEM """{system}"""'] if system else []),
        f'TEMPLATE """{family.ollama_template}"""',
    ]
    return "\n".join(lines) + "\n"


def _end_tokens(tokenizer: Any, folder: Path) -> list[str]:
    """The tokens at which transformers ends a completion."""
    ids = GenerationConfig.from_pretrained(folder).eos_token_id
    tokens: list[str] = tokenizer.convert_ids_to_tokens(ids if isinstance(ids, list) else [ids])
    return tokens
