"""Weights & Biases: offline files in the run directory, which `wandb sync` can upload later, or its server."""

import html
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowmed.errors import SetupError
from lowmed.tracking.tracker import Opening, Status

if TYPE_CHECKING:
    from PIL.Image import Image

PACKAGES = ("wandb",)
# What wandb collects unasked: code, git state, command line, machine, packages, user, output, usage of the hardware.
_COLLECT_NOTHING = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "save_code": False,
    "email": "",
    "host": "",
    "username": "",
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_viewer": True,
    "x_save_requirements": False,
}


def login_error() -> SetupError | None:
    """The error if wandb has no key: it reads it from WANDB_API_KEY or from what `wandb login` stored."""
    os.environ["WANDB_SILENT"] = "true"
    import wandb

    if wandb.login(prompt=False, verify=False):
        return None
    return SetupError("wandb has no login", "track.online", "run `wandb login`, or leave track.online out")


def start(opening: Opening) -> "WandbTracker":
    """Create the run, or continue it."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    import wandb

    opening.folder.mkdir(parents=True, exist_ok=True)
    run_id = opening.run_id or secrets.token_hex(4)
    settings = wandb.Settings(
        **_COLLECT_NOTHING,
        root_dir=str(opening.folder.parent),  # wandb adds its own name
        run_id=run_id,
        run_name=opening.name,
        project=opening.spec.project,
        resume="allow",
        silent=True,
        symlink=False,
    )
    run = wandb.init(
        mode="online" if opening.spec.online else "offline", settings=settings, config=dict(opening.parameters)
    )
    return WandbTracker(run, run_id, opening.folder)


class WandbTracker:
    """One run of wandb. It cannot drop a step; offline, each session writes a folder of its own."""

    drops_steps = False

    def __init__(self, run: Any, run_id: str, folder: Path) -> None:
        self.run = run
        self.run_id = run_id
        self.folder = folder

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step."""
        self.run.log(dict(values), step=step)

    def show(self, step: int, text: str, images: "Sequence[Image]") -> None:
        """Record sample completions of a step. A table of wandb would record a path of this machine."""
        import wandb

        shown: dict[str, Any] = {"completions": wandb.Html(f"<pre>{html.escape(text)}</pre>", inject=False)}
        shown |= {f"completions/{number}": wandb.Image(image) for number, image in enumerate(images)}
        self.run.log(shown, step=step)

    def close(self, status: Status) -> None:
        """End the session and remove wandb's own logs, which name paths of this machine."""
        self.run.finish(exit_code=int(status == "failed"))
        for logs in self.folder.glob("*/logs"):
            shutil.rmtree(logs, ignore_errors=True)
