"""Export target `ollama`: GGUF files with a Modelfile."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoProcessor, AutoTokenizer, GenerationConfig

from lowmed.data.image.policy import TOKEN_SIDE_PX
from lowmed.engine.own_code import own_code_refused
from lowmed.errors import RunError
from lowmed.files import write_text
from lowmed.report.console import NOTICE
from lowmed.run import open_run
from lowmed.ship.export import ExportRequest
from lowmed.ship.gguf.convert import image_token_limits
from lowmed.ship.gguf.export import export_for_llama_cpp
from lowmed.ship.gguf.source import gguf_family
from lowmed.ship.gguf.tokenizer import load_tokenizer
from lowmed.ship.records import PACKAGE, ExportReport, read_versioned

CONTEXT_TOKENS = 4096
MODELFILE = "Modelfile"
# ChatML in Ollama's template language (Go's text/template). Ollama places images before the text, as training does.
_TEMPLATE = """\
{{- range $place, $_ := .Messages }}
{{- if and (eq $place 0) (ne .Role "system") }}SYSTEM_TURN{{ end }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
# A chat with every kind of turn, as ChatML. Some chat templates remove earlier think blocks, which _TEMPLATE does not.
_EXAMPLE_RENDERING = """\
<|im_start|>user
first<|im_end|>
<|im_start|>assistant
<think>
why
</think>
second<|im_end|>
<|im_start|>user
{image}third<|im_end|>
<|im_start|>assistant
"""
_EXAMPLE_SYSTEM = "<|im_start|>system\n{system}<|im_end|>\n"
_SYSTEM_TURN = r"(<\|im_start\|>system\n.*<\|im_end\|>\n)?"


def export_ollama(request: ExportRequest) -> ExportReport:
    """Write the GGUF files and a Modelfile.

    Raises:
        LowmedError: the extra `gguf` is missing, the model or its chat template is not supported, the prompts pre-fill
            the assistant's turn or have a system message that a Modelfile cannot quote, or the merge is not possible.
    """
    prompts = _prompts(request)
    _require_no_prefill(request, prompts["prefill"])
    _require_quotable(request, prompts["system"])
    report = export_for_llama_cpp(request, partial(write_modelfile, system=prompts["system"]), ollama_template)
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
    path = out / MODELFILE
    write_text(path, _modelfile(folder, files, system))
    return path


def ollama_template(folder: Path) -> str:
    """The chat template of a model folder in Ollama's template language.

    Raises:
        RunError: the chat template is not ChatML, or changes earlier turns.
    """
    family = gguf_family(folder)
    with own_code_refused(folder):
        auto = AutoTokenizer if family.text_only else AutoProcessor
        renderer = auto.from_pretrained(folder, trust_remote_code=False)
    turns = _EXAMPLE_RENDERING.format(image=family.image_placeholder)
    rendered, with_system = (
        renderer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        for chat in (_example_chat(family.text_only), _example_chat(family.text_only, "which"))
    )
    default = rendered.removesuffix(turns)  # the system turn of a chat without one
    is_chatml = rendered.endswith(turns) and with_system == _EXAMPLE_SYSTEM.format(system="which") + turns
    is_quotable = not any(quote in default for quote in ("{{", "}}", '"""'))
    if not (is_chatml and is_quotable and re.fullmatch(_SYSTEM_TURN, default, re.DOTALL)):
        raise RunError(
            "the chat template is not plain ChatML, the only one with an Ollama template",
            str(folder / "chat_template.jinja"),
            "export to gguf, and write the Modelfile's TEMPLATE by hand",
        )
    return _TEMPLATE.replace("SYSTEM_TURN", default)


def _example_chat(text_only: bool, system: str = "") -> list[dict[str, Any]]:
    turns = [("system", system)] if system else []
    turns += [("user", "first"), ("assistant", "<think>\nwhy\n</think>\nsecond"), ("user", "third")]
    if text_only:
        return [{"role": role, "content": text} for role, text in turns]
    chat: list[dict[str, Any]] = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    chat[-1]["content"].insert(0, {"type": "image"})
    return chat


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


def _modelfile(folder: Path, files: Sequence[Path], system: str) -> str:
    text_only, images = gguf_family(folder).text_only, []
    if not text_only:
        _, most = image_token_limits(folder)
        images = [
            f"# Send images with sides divisible by {TOKEN_SIDE_PX} and at most {most} x {TOKEN_SIDE_PX**2} pixels."
        ]
    parameters = {
        "temperature": ["0"],
        "repeat_penalty": ["1"],  # no penalty, as in `lowmed eval`
        "num_ctx": [str(CONTEXT_TOKENS)],
        "stop": [f'"{token}"' for token in _end_tokens(folder)],
    }
    lines = [
        f"# {NOTICE}",
        "# Create the model: ollama create NAME -f Modelfile",
        *images,
        *(f"FROM ./{file.name}" for file in (files[:1] if text_only else (files[0], files[-1]))),
        *(f"PARAMETER {name} {value}" for name, values in parameters.items() for value in values),
        *([f'SYSTEM """{system}"""'] if system else []),
        f'TEMPLATE """{ollama_template(folder)}"""',
    ]
    return "\n".join(lines) + "\n"


def _end_tokens(folder: Path) -> list[str]:
    """The tokens at which transformers ends a completion."""
    if (folder / "generation_config.json").is_file():
        ids = GenerationConfig.from_pretrained(folder).eos_token_id
    else:
        ids = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config().eos_token_id
    tokens: list[str] = load_tokenizer(folder).convert_ids_to_tokens(ids if isinstance(ids, list) else [ids])
    return tokens
