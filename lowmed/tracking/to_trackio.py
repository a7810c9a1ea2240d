"""Trackio: a database in the run directory, shown by `TRACKIO_DIR=RUN/trackio trackio show`.

The records go to trackio's database directly. `trackio.init` would ask the hub for the name of the user.
"""

import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lowmed.tracking.tracker import Opening, Status

if TYPE_CHECKING:
    from PIL.Image import Image

PACKAGES = ("trackio",)


def login_error() -> None:
    """A recipe cannot send to a trackio server."""


def start(opening: Opening) -> "TrackioTracker":
    """Create the run in the database, or continue it."""
    for name in [name for name in os.environ if name.startswith("TRACKIO_")]:
        del os.environ[name]  # may name a server
    os.environ["TRACKIO_DIR"] = str(opening.folder)
    # It reads its folder at import, and TRL or an earlier run of this process may have imported it.
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        del sys.modules[name]
    import trackio

    opening.folder.mkdir(parents=True, exist_ok=True)
    return TrackioTracker(trackio, opening, opening.run_id or uuid.uuid4().hex)


class TrackioTracker:
    """One run of trackio. It cannot drop a step."""

    drops_steps = False

    def __init__(self, trackio: Any, opening: Opening, run_id: str) -> None:
        self.trackio = trackio
        self.project = opening.spec.project
        self.name = opening.name
        self.run_id = run_id
        self.parameters: dict[str, str] | None = dict(opening.parameters)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step."""
        self._write(step, dict(values))

    def show(self, step: int, text: str, images: "Sequence[Image]") -> None:
        """Record sample completions of a step."""
        del images
        self._write(step, {"completions": {"_type": self.trackio.Markdown.TYPE, "_value": text}})

    def close(self, status: Status) -> None:
        """Every record is in the database already."""

    def _write(self, step: int, content: dict[str, Any]) -> None:
        self.trackio.SQLiteStorage.bulk_log(
            self.project, self.name, [content], steps=[step], config=self.parameters, run_id=self.run_id
        )
        self.parameters = None
