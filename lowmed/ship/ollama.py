"""The Modelfile with which Ollama takes the GGUF files in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, GenerationConfig

from lowmed.errors import RunError
from lowmed.files import write_text
from lowmed.report.eval_table import NOTICE
from lowmed.ship.gguf.export import image_tokens

CONTEXT_TOKENS = 4096
# Qwen2-VL's chat template in Ollama's words. Ollama puts a message's images before its text, as training does.
_TEMPLATE = """\
{{- range $place, $_ := .Messages }}
{{- if and (eq $place 0) (ne .Role "system") }}<|im_start|>system
You are a helpful assistant.<|im_end|>
{{ end }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
_ASKED = [
    {"role": "user", "content": [{"type": "text", "text": "first"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "second"}]},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "third"}]},
]
_SAID = """\
<|im_start|>system
You are a helpful assistant.<|im_end|>
<|im_start|>user
first<|im_end|>
<|im_start|>assistant
second<|im_end|>
<|im_start|>user
<|vision_start|><|image_pad|><|vision_end|>third<|im_end|>
<|im_start|>assistant
"""


def write(folder: Path, files: Sequence[Path], out: Path) -> Path:
    """Write `Modelfile` beside the GGUF files: greedy, with the template and the ends that the model was trained with.

    Args:
        folder: the merged folder that the files were made from.
        files: what `gguf.write` returned, language files first and projector last; the first one is served.
        out: the folder in which they lie.

    Raises:
        RunError: the folder's chat template is not Qwen2-VL's, which is the one that is written.
        SetupError: the disk does not allow it.
    """
    processor = AutoProcessor.from_pretrained(folder)
    if processor.apply_chat_template(_ASKED, tokenize=False, add_generation_prompt=True) != _SAID:
        raise RunError(
            "the chat template is not Qwen2-VL's, and Ollama needs it in words of its own",
            str(folder / "chat_template.jinja"),
            "export to gguf, and write the Modelfile's TEMPLATE yourself",
        )
    path = out / "Modelfile"
    write_text(path, _modelfile(processor.tokenizer, folder, files))
    return path


def _modelfile(tokenizer: Any, folder: Path, files: Sequence[Path]) -> str:
    _, most = image_tokens(folder)
    parameters = {
        "temperature": ["0"],
        "repeat_penalty": ["1"],  # no penalty, as in lowmed's own evaluation
        "num_ctx": [str(CONTEXT_TOKENS)],
        "stop": [f'"{end}"' for end in _ends(tokenizer, folder)],
    }
    lines = [
        f"# {NOTICE}",
        "# To take this in: ollama create NAME -f Modelfile",
        f"# Show it pictures whose sides are multiples of 28 pixels, and of at most {most} x 784 pixels in all.",
        *(f"FROM ./{file.name}" for file in (files[0], files[-1])),
        *(f"PARAMETER {name} {value}" for name, values in parameters.items() for value in values),
        f'TEMPLATE """{_TEMPLATE}"""',
    ]
    return "\n".join(lines) + "\n"


def _ends(tokenizer: Any, folder: Path) -> list[str]:
    """The tokens after which the model stops, as transformers has them."""
    ids = GenerationConfig.from_pretrained(folder).eos_token_id
    ends: list[str] = tokenizer.convert_ids_to_tokens(ids if isinstance(ids, list) else [ids])
    return ends
