"""Check a model's chat template before anything renders it: jinja has no limit of time and memory.

Each question is rendered in the process of the command, so a template with nested loops would never end, or take all
memory. An unknown template is therefore rendered once with limits when the model is loaded. A template that waits for
one special text is not found by that.
"""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from lowmed.errors import SetupError
from lowmed.prompt import as_texts, chat_messages

# The templates of nano, of Qwen2-VL and Qwen2.5-VL, and of Qwen3-VL, without space at both ends.
KNOWN = frozenset(
    {
        "f436b161fc061b71bcea18afe83a1ee8c9b8b843c2acac5629c51c3e5d800551",
        "a0bc6f6fc7a29a80017a433e8f03a1cc1236e838a944a2d034295a60c4f2fddb",
        "9d879ef91075acbfb2df7e441fd79d60bacfca989cf6d511d2af45c681e94f10",
    }
)
MAX_CHARACTERS = 1_000_000  # of a template, and of what it makes of a short chat
_SECONDS, _BYTES, _WAIT = 2, 2**29, 20
_SCRIPT = Path(__file__).with_name("render_template.py")
_TURNS = (("What is shown?", "A square."), ("Is it large?", "Yes."))


def is_known(template: str) -> bool:
    """Whether a template is that of a supported family."""
    return hashlib.sha256(template.strip().encode("utf-8", "surrogatepass")).hexdigest() in KNOWN


def require_renderable(template: Any, source: str, *, text_only: bool = False) -> None:
    """Check that a chat template ends in time and memory. A known one is not rendered.

    Args:
        template: a text, several by name, or None.
        source: the model, for the error.
        text_only: whether the model reads text only, whose template expects texts as contents.

    Raises:
        SetupError: it does not, or it is no template.
    """
    if template is None:
        return
    templates = list(template.values()) if isinstance(template, dict) else [template]
    for text in templates:
        if not isinstance(text, str):
            raise _error("is not a text", source)
        if not is_known(text):
            _render(text, source, text_only)


def _render(template: str, source: str, text_only: bool) -> None:
    if len(template) > MAX_CHARACTERS:
        raise _error(f"is longer than {MAX_CHARACTERS:,} characters", source)
    images = 0 if text_only else 1
    chats: list[Any] = [
        chat_messages("Is it grey?", images),
        chat_messages("Is it grey?", 2 * images, history=_TURNS, system="Answer the question."),
        chat_messages("Is it grey?"),
    ]
    if text_only:
        chats = [as_texts(chat) for chat in chats]
    job = {"template": template, "chats": chats, "seconds": _SECONDS, "bytes": _BYTES, "characters": MAX_CHARACTERS}
    try:
        ended = subprocess.run(
            [sys.executable, "-P", str(_SCRIPT)],
            input=json.dumps(job),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_WAIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _error(f"is not rendered within {_WAIT} s", source) from error
    verdict, _, message = ended.stdout.strip().partition(" ")
    if verdict == "fine":
        return
    if verdict == "error":
        first = next(iter(message.splitlines()), "")
        raise _error(f"cannot be rendered ({first[:200]})", source)
    if verdict == "long":
        raise _error(f"makes over {MAX_CHARACTERS:,} characters of a short question", source)
    if verdict == "memory":
        raise _error(f"takes more than {_BYTES // 2**20} MiB of memory", source)
    if ended.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise _error(f"is not rendered within {_SECONDS} s of computing time", source)
    last = next(reversed(ended.stderr.strip().splitlines()), "")
    raise _error(f"cannot be rendered (code {ended.returncode} {last[:200]})", source)


def _error(problem: str, source: str) -> SetupError:
    return SetupError(
        f"the model's chat template {problem}",
        source,
        "use the chat template of the original model, and do not trust this folder: see what else it contains",
    )
