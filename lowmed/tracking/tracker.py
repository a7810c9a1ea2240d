"""The interface of a tracker, and its start. Each tool is one module with `PACKAGES`, `login_error` and `start`."""

import importlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lowmed.errors import LowmedError, SetupError

if TYPE_CHECKING:
    from PIL.Image import Image

    from lowmed.recipe.track import TrackSpec

Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Opening:
    """What a tracker is started with.

    Attributes:
        spec: the section `track` of the recipe.
        folder: where the tool may write; created by the tool.
        name: name of the run.
        parameters: settings and digests to show with the run.
        run_id: identifier of the tracked run to continue, None for a new one.
        kept_step: last step of a continued run that is kept; steps after it are computed again.
    """

    spec: "TrackSpec"
    folder: Path
    name: str
    parameters: Mapping[str, str]
    run_id: str | None
    kept_step: int


class Tracker(Protocol):
    """A tracked run. Any method may raise any exception; the caller goes on without it.

    Attributes:
        run_id: identifier by which `start` continues this run.
        drops_steps: whether a continued run drops the steps after `kept_step`. Others get a step with its checkpoint.
    """

    run_id: str
    drops_steps: bool

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step."""

    def show(self, step: int, text: str, images: "Sequence[Image]") -> None:
        """Record sample completions of a step, as Markdown, with their images."""

    def close(self, status: Status) -> None:
        """End the session."""


def require_tracker(spec: "TrackSpec") -> None:
    """Check that the tracker of a recipe can start, without a request.

    Raises:
        SetupError: its package is missing, or it has no server or login; or LOWMED_OFFLINE forbids its requests.
    """
    if spec.to is None:
        return
    tool = _tool(spec)
    where = f"track.to={spec.to}"
    for package in tool.PACKAGES:
        if not _is_installed(package):
            fix = f"pip install 'lowmed[{spec.to}]', or leave track.to out"
            raise SetupError(f"the package `{package}` is not installed", where, fix)
    if spec.online and os.environ.get("LOWMED_OFFLINE") == "1":
        fix = "leave track.online out, or unset LOWMED_OFFLINE"
        raise SetupError("LOWMED_OFFLINE=1 forbids requests to other machines", "track.online", fix)
    if spec.online and (error := tool.login_error()):
        raise error


def start_tracker(opening: Opening) -> Tracker:
    """Start the tracker of a run.

    Raises:
        SetupError: it cannot start.
    """
    require_tracker(opening.spec)
    try:
        tracker: Tracker = _tool(opening.spec).start(opening)
    except LowmedError:
        raise
    except Exception as error:  # of any tool
        raise SetupError(
            f"the tracker cannot start: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            f"track.to={opening.spec.to}",
            f"correct its settings, or set track.to to null, for a resumed run in {opening.folder.parent}/recipe.yaml",
        ) from error
    return tracker


def _tool(spec: "TrackSpec") -> Any:
    return importlib.import_module(f"lowmed.tracking.to_{spec.to}")


def _is_installed(package: str) -> bool:
    located = importlib.util.find_spec(package)
    return located is not None and located.origin is not None  # a folder of that name here, e.g. wandb/, has no origin
