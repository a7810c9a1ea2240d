"""Follows the files of a run and passes their rows to its tracker.

The rows are those in the files, so what is tracked cannot differ from what the run records. A tracker that cannot drop
a step gets it when its checkpoint is complete, so that a resumed run never contradicts it.
"""

import json
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowmed.files import read_jsonl
from lowmed.records import printable, read_record
from lowmed.run import Run
from lowmed.tracking.parameters import parameters, public_name
from lowmed.tracking.record import FILE, TrackingRecord
from lowmed.tracking.tracker import Opening, Status, start_tracker

if TYPE_CHECKING:
    from PIL.Image import Image

# File of the run -> prefix of the names in it.
FILES = {"metrics.jsonl": "", "canaries.jsonl": "", "dev.jsonl": "dev/"}
IMAGE_SIZE = 512  # longest side of a tracked image

OpenImages = Callable[[int], "list[Image]"]


class Follower:
    """The tracking of one session of a run."""

    def __init__(self, run: Run, kept_step: int, open_images: OpenImages) -> None:
        """Start the tracker, and pass on the steps of a resumed run that it lacks.

        Args:
            run: a run whose section `track` names a tracker. Its files hold no row after `kept_step`.
            kept_step: step of the checkpoint that the session starts from; 0 for a new run.
            open_images: opens the images of a row number in rollouts.jsonl.

        Raises:
            SetupError: the tracker cannot start.
        """
        self.run = run
        self.open_images = open_images
        self.recipe = run.recipe
        self.warned = False
        spec = self.recipe.track
        before = self._stored()
        with _unchanged_random_state():
            self.tracker = start_tracker(
                Opening(
                    spec=spec,
                    folder=run.folder / str(spec.to),
                    name=run.folder.resolve().name,
                    parameters=parameters(run),
                    run_id=before.run_id if before else None,
                    kept_step=kept_step,
                )
            )
        counts = before.rows if before else {}
        self.tails = {name: _Tail(run.folder / name, counts.get(name, 0)) for name in FILES}
        self.completions_step = min(before.completions_step, kept_step) if before else 0
        self._attempt(self._store)
        if kept_step:
            self.checkpoint(kept_step)

    def step(self, step: int) -> None:
        """Pass a step on, if the tracker could drop it later."""
        if self.tracker.drops_steps:
            self._attempt(lambda: self._pass_rows(step))

    def checkpoint(self, step: int) -> None:
        """Pass on all steps up to a complete checkpoint, and sample completions."""
        self._attempt(lambda: self._pass_rows(step))
        if self.recipe.track.completions:
            self._attempt(lambda: self._pass_completions(step))

    def close(self, status: Status) -> None:
        """End the tracked session."""
        self._attempt(lambda: self.tracker.close(status))

    def _attempt(self, action: Callable[[], None]) -> None:
        """Run an action of the tracker. A failure never ends the run; what it lacks then is passed on later."""
        try:
            with _unchanged_random_state():
                action()
        except Exception as error:  # of any tool
            if not self.warned:
                text = " ".join(str(error).split())[:200]
                logging.getLogger("lowmed").warning(
                    f"tracking to {self.recipe.track.to} failed, and training goes on: {type(error).__name__}: {text}"
                )
            self.warned = True

    def _pass_rows(self, last_step: int) -> None:
        rows = [(row["step"], name, row) for name, tail in self.tails.items() for row in tail.rows(last_step)]
        try:
            for step, of_step in groupby(sorted(rows, key=lambda item: item[0]), key=lambda item: item[0]):
                group = list(of_step)
                values = {key: value for _, name, row in group for key, value in _numbers(FILES[name], row)}
                self.tracker.log(step, values)
                for _, name, _ in group:
                    self.tails[name].advance()
        finally:
            if rows:
                self._store()

    def _pass_completions(self, last_step: int) -> None:
        rows = [row for row in read_jsonl(self.run.folder / "rollouts.jsonl") if row["step"] <= last_step]
        step = rows[-1]["step"] if rows else 0
        if step <= self.completions_step:
            return
        last = [row for row in rows if row["step"] == step]
        count = min(self.recipe.track.completions, len(last))
        chosen = [last[number * len(last) // count] for number in range(count)]  # of as many questions as possible
        images = [image for row in chosen for image in self.open_images(row["row"])] if self.recipe.track.images else []
        for image in images:
            image.thumbnail((IMAGE_SIZE, IMAGE_SIZE))
        self.tracker.show(step, "\n\n".join(self._text(row) for row in chosen), images)
        self.completions_step = step
        self._store()

    def _text(self, row: Mapping[str, Any]) -> str:
        """A completion in Markdown. Its question is found by the row; the id of a question may identify a patient."""
        paid = {name: score.get("paid", score["value"]) for name, score in row["scores"].items()}
        reward = sum(spec.weight * (paid.get(spec.name) or 0.0) for spec in self.recipe.method.reward_specs)
        lines = printable(row["completion"]).splitlines() or [""]
        return f"row {row['row']}, reward {reward:.3f}\n\n" + "\n".join(f"    {line}" for line in lines)

    def _stored(self) -> TrackingRecord | None:
        """The record of earlier sessions with the same tracker, unless its files were deleted."""
        path, spec = self.run.folder / FILE, self.recipe.track
        exists = path.exists() and (spec.online or (self.run.folder / str(spec.to)).is_dir())
        record = read_record(path, TrackingRecord) if exists else None
        same = record and (record.to, record.online, record.project) == (spec.to, spec.online, spec.project)
        return record if same else None

    def _store(self) -> None:
        spec = self.recipe.track
        TrackingRecord(
            to=str(spec.to),
            online=spec.online,
            project=spec.project,
            run_id=self.tracker.run_id,
            rows={name: tail.passed for name, tail in self.tails.items() if tail.passed},
            completions_step=self.completions_step,
        ).write(self.run.folder / FILE)


class _Tail:
    """The rows of a JSON-lines file that the tracker lacks. The file only grows."""

    def __init__(self, path: Path, passed: int) -> None:
        self.path = path
        self.passed = min(passed, len(read_jsonl(path)))  # a resumed run has dropped the rest
        self._to_skip = self.passed
        self._position = 0
        self._waiting: deque[dict[str, Any]] = deque()

    def rows(self, last_step: int) -> list[dict[str, Any]]:
        """The rows up to a step."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._position)
                *lines, _incomplete = file.read().split(b"\n")
            self._position += sum(len(line) + 1 for line in lines)
            self._waiting.extend(json.loads(line) for line in lines[self._to_skip :])
            self._to_skip = max(0, self._to_skip - len(lines))
        return [row for row in self._waiting if row["step"] <= last_step]

    def advance(self) -> None:
        """Count the first row as passed on."""
        self._waiting.popleft()
        self.passed += 1


def _numbers(prefix: str, row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _numbers(f"{prefix}{name}/", value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            yield public_name(f"{prefix}{name}"), float(value)


@contextmanager
def _unchanged_random_state() -> Iterator[None]:
    """Restore the generators that a library might draw from. No tracker imports torch."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
