"""TensorBoard: event files in the run directory, read by `tensorboard --logdir RUN/tensorboard`.

The records are written here and not by TensorBoard's own writer, because that one puts the name of the machine into the
name of the file, and reports a full disk from another thread.
"""

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowmed.tracking.tracker import Opening, Status

if TYPE_CHECKING:
    from PIL.Image import Image

PACKAGES = ("tensorboard",)


def login_error() -> None:
    """TensorBoard has no server to log in to."""


def start(opening: Opening) -> "TensorBoardTracker":
    """Open the event files of a run; a continued run gets another file, which drops the steps after `kept_step`."""
    run_id = opening.run_id or opening.name
    tracker = TensorBoardTracker(opening.folder / run_id, run_id)
    if opening.run_id:
        tracker.drop_after(opening.kept_step)
    else:
        rows = "\n".join(f"| {key} | {_cell(value)} |" for key, value in opening.parameters.items())
        tracker.write_text(0, "recipe", f"| key | value |\n| --- | --- |\n{rows}")
    return tracker


class TensorBoardTracker:
    """The event files of one run."""

    drops_steps = True

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder = folder
        self.run_id = run_id
        self._file: Any = None

    def drop_after(self, step: int) -> None:
        """Drop all events after a step: readers follow this mark."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._write(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        # `simple_value`, as torch writes it: TensorBoard's own reader drops no tensor after a restart.
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=Summary(value=scalars))

    def show(self, step: int, text: str, images: "Sequence[Image]") -> None:
        """Record sample completions of a step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self.write_text(step, "completions", text)
        for number, image in enumerate(images):
            file = io.BytesIO()
            image.save(file, "png")
            content = Summary.Image(
                width=image.width, height=image.height, colorspace=3, encoded_image_string=file.getvalue()
            )
            value = Summary.Value(tag=f"completions/{number}", image=content)
            self._write(step=step, summary=Summary(value=[value]))

    def write_text(self, step: int, name: str, text: str) -> None:
        """Record a text in Markdown."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write(step=step, summary=text_pb(name, text))

    def close(self, status: Status) -> None:
        """Close the file."""
        del status
        if self._file:
            self._file.close()

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = len(list(self.folder.iterdir()))
            # Readers take the files in the order of their names.
            file = (self.folder / f"events.out.tfevents.{int(time.time()):010d}.{number}").open("xb")
            self._file = RecordWriter(file)
            self._file.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        try:
            self._file.write(Event(wall_time=time.time(), **fields).SerializeToString())
            self._file.flush()
        except OSError:
            self._file = None  # it may end within a record, so the next one goes to another file
            raise


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
