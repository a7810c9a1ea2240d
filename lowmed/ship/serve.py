"""The command that serves a merged or converted folder: vLLM, llama.cpp or transformers, whichever fits the folder."""

import json
import shlex
import shutil
import socket
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lowmed.data.image.policy import TOKEN_SIDE_PX
from lowmed.errors import RunError, SetupError
from lowmed.recipe import Recipe
from lowmed.recipe.io import load_recipe
from lowmed.run import RECORD
from lowmed.ship.records import PACKAGE, read_versioned

Server = Literal["vllm", "llama.cpp", "transformers"]
SERVE_SCRIPT = "serve.sh"  # written by lowmed/ship/vllm.py
# Nothing is downloaded and no usage is reported.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
SAMPLING_LIMITS = {"top_k": (None, 0), "top_p": (None, 1.0), "repetition_penalty": (None, 1.0)}  # and neutral values


@dataclass(frozen=True)
class ServeCommand:
    """A server of a folder, which is not started yet.

    Attributes:
        server: the program.
        why: why this one.
        command: program and arguments.
        folder: the directory that it starts in.
        environment: variables that it needs.
        url: the address of its API.
        model: its name for the model.
        evaluate: a command that tests it.
        notes: what differs from lowmed's own answers.
    """

    server: Server
    why: str
    command: tuple[str, ...]
    folder: Path
    environment: dict[str, str]
    url: str
    model: str
    evaluate: str
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command for a shell, with its folder and variables."""
        variables = " ".join(f"{name}={value}" for name, value in self.environment.items())
        return f"cd {shlex.quote(str(self.folder))} && {variables} {shlex.join(self.command)}"


def serve_command(folder: Path, server: Server | None, host: str, port: int) -> ServeCommand:
    """The command that serves a folder of `lowmed merge` or `lowmed export`.

    Args:
        folder: the merged folder (transformers), the one exported to `vllm`, or the one exported to `gguf` (llama.cpp).
        server: the program, or None for the one that fits the folder: its files first, then what is installed.
        host: the address to listen on.
        port: the port to listen on.

    Raises:
        RunError: it is a run, an adapter or something else that servers cannot load.
        SetupError: the program is not installed, or cannot serve this folder.
    """
    _require_weights(folder)
    folder = folder.resolve()
    chosen, why = _choose(folder, server)
    package = read_versioned(folder / PACKAGE)
    recipe = load_recipe(str(folder / "recipe.yaml"))
    name, start = str(package["run"]), folder
    if chosen == "vllm":
        command = _vllm(folder, host, port)
    elif chosen == "llama.cpp":
        command = _llama_cpp(folder, package, host, port)
    else:
        # The server takes the name of its model for a path, which is therefore a name in the parent folder.
        name, start, command = folder.name, folder.parent, _transformers(folder, recipe, host, port)
    url = _url(host, port)
    return ServeCommand(
        server=chosen,
        why=why,
        command=command,
        folder=start,
        environment=ENVIRONMENT,
        url=url,
        model=name,
        evaluate=f"lowmed eval {shlex.quote(str(folder))} --endpoint {url} --model {shlex.quote(name)} --on SOURCE",
        notes=(*_host_notes(host), *(_sampling_notes(folder) if chosen == "transformers" else ())),
    )


def require_free(host: str, port: int) -> None:
    """Refuse an address at which another program listens, before a model is loaded for it.

    Raises:
        SetupError: the port is in use, or the address is not of this machine.
    """
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return
    except OSError as error:
        what = f"the server cannot listen there ({error.strerror or error})"
        raise SetupError(what, f"{host}:{port}", "choose another --port, or --host 127.0.0.1") from error


def _require_weights(folder: Path) -> None:
    if (folder / RECORD).is_file():
        merged = f"{str(folder).rstrip('/')}-merged"
        raise RunError(
            "servers load merged weights, and this is a run with an adapter",
            str(folder),
            f"lowmed merge {folder} --out {merged}; then lowmed serve {merged}",
        )
    if not folder.is_dir():
        raise RunError("the folder does not exist", str(folder), "name a folder of `lowmed merge` or `lowmed export`")
    kind = read_versioned(folder / PACKAGE).get("kind") if (folder / PACKAGE).is_file() else None
    if kind != "merged" or not (folder / "recipe.yaml").is_file():
        fix = "lowmed merge RUN --out DIR writes one; or export the run: --to merged, vllm or gguf"
        raise RunError("this is not a folder with merged weights", str(folder), fix)


def _choose(folder: Path, server: Server | None) -> tuple[Server, str]:
    has_gguf, has_script = any(folder.glob("*.gguf")), (folder / SERVE_SCRIPT).is_file()
    if server == "vllm" and not has_script:
        fix = "lowmed export RUN --to vllm --out DIR; then lowmed serve DIR"
        raise SetupError(f"the folder has no {SERVE_SCRIPT}, which holds vLLM's settings", str(folder), fix)
    if server == "llama.cpp" and not has_gguf:
        fix = "lowmed export RUN --to gguf --out DIR; then lowmed serve DIR"
        raise SetupError("llama.cpp needs GGUF files", str(folder), fix)
    if server == "transformers" and has_gguf:
        raise SetupError("the folder has GGUF files, for llama.cpp", str(folder), "serve the merged folder instead")
    missing = {name: problem for name in ("vllm", "llama.cpp", "transformers") if (problem := _missing(name))}
    if server:
        chosen, why = server, "--server names it"
    elif has_gguf:
        chosen, why = "llama.cpp", "the folder has GGUF files"
    elif has_script and "vllm" not in missing:
        chosen, why = "vllm", f"the folder has {SERVE_SCRIPT}, and vLLM is installed"
    else:
        reason = "vLLM is not installed" if has_script else f"the folder has neither GGUF files nor {SERVE_SCRIPT}"
        chosen, why = "transformers", f"{reason}; it answers one request at a time"
    if chosen in missing:
        raise SetupError(f"{chosen} is not installed", str(folder), missing[chosen])
    return chosen, why


def _missing(server: str) -> str | None:
    """How to install a server that is missing."""
    if server == "vllm":
        return None if shutil.which("vllm") else "install vLLM in an environment of its own, and put `vllm` on the PATH"
    if server == "llama.cpp":
        return None if shutil.which("llama-server") else "install llama.cpp, and put `llama-server` on the PATH"
    present = all(find_spec(name) for name in ("openai", "fastapi", "uvicorn"))
    return None if present else "pip install 'lowmed[serve]'"


def _transformers(folder: Path, recipe: Recipe, host: str, port: int) -> tuple[str, ...]:
    if "@" in folder.name:
        raise SetupError("transformers reads @ in a name as a revision", str(folder), "rename the folder")
    if recipe.prompts.asking.prefill:
        fix = "export the run to vllm or gguf, whose servers continue a message"
        raise SetupError("transformers' server cannot continue a message, as `prompts.prefill` needs", str(folder), fix)
    program = "from transformers.cli.transformers import main; main()"  # of this environment, not of the PATH
    return (sys.executable, "-c", program, "serve", folder.name, "--host", host, "--port", str(port))


def _host_notes(host: str) -> tuple[str, ...]:
    if host in ("127.0.0.1", "localhost", "::1"):
        return ()
    return ("other machines can reach this address, and the server requires no key",)


def _sampling_notes(folder: Path) -> tuple[str, ...]:
    file = folder / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    limits = [
        f"{name} {settings[name]}" for name, neutral in SAMPLING_LIMITS.items() if settings.get(name) not in neutral
    ]
    if not limits:
        return ()
    text = f"{file.name} sets {', '.join(limits)}, and this server applies it: sampled completions differ from lowmed's"
    return (text,)


def _vllm(folder: Path, host: str, port: int) -> tuple[str, ...]:
    """The command of the script, at another address."""
    text = (folder / SERVE_SCRIPT).read_text(encoding="utf-8").partition("exit 1\n")[2]
    command = shlex.split(text.replace("\\\n", " "))
    if command[:2] != ["vllm", "serve"] or "--host" not in command or "--port" not in command:
        fix = "export the run again: lowmed export RUN --to vllm --out DIR"
        raise SetupError(f"{SERVE_SCRIPT} is not the script that lowmed wrote", str(folder), fix)
    for option, value in (("--host", host), ("--port", str(port))):
        command[command.index(option) + 1] = value
    return tuple(command)


def _llama_cpp(folder: Path, package: dict[str, object], host: str, port: int) -> tuple[str, ...]:
    """The F16 files, the only ones that lowmed compared with the adapter, with the pixel limits of training."""
    languages = sorted(file.name for file in folder.glob("*-f16.gguf") if not file.name.startswith("mmproj-"))
    if not languages:
        raise SetupError("the folder has no F16 file", str(folder), "lowmed export RUN --to gguf --out DIR writes one")
    command = ["llama-server", "-m", languages[0], "--alias", str(package["run"]), "--host", host, "--port", str(port)]
    if projector := next(iter(sorted(file.name for file in folder.glob("mmproj-*.gguf"))), None):
        command += ["--mmproj", projector]
    pixels = package["pixels"]
    if projector and isinstance(pixels, dict) and pixels:
        for option, limit in (("--image-min-tokens", "min_pixels"), ("--image-max-tokens", "max_pixels")):
            command += [option, str(pixels[limit] // TOKEN_SIDE_PX**2)]
    return (*command, "--reasoning-format", "none")  # the think block stays in the text, as the model wrote it


def _url(host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}/v1"
