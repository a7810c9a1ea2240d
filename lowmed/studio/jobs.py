"""Commands that the studio has started, as files in the hidden folder `.studio` next to the runs."""

import shlex
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from lowmed.errors import LowmedError
from lowmed.files import disk_errors, utc_now, write_text
from lowmed.lock import locked
from lowmed.records import Record, read_record
from lowmed.studio import processes

FOLDER = ".studio"
OUTPUT = "output.txt"
EXIT = "exit_code"
LOCK = "lock"
SHOWN_BYTES = 20_000
KEPT = 50
Kind = Literal["data", "train", "check", "eval", "compare", "export"]


class JobRecord(Record):
    """job.json of a command that the studio has started."""

    kind: Kind
    """What the command does."""
    about: str
    """The run, data set or recipe that it is about."""
    command: str
    """The command line, as a user would type it."""
    pid: int
    """The number of its process."""
    started: str
    """UTC time."""


@dataclass(frozen=True)
class Job:
    """A command that the studio has started.

    Attributes:
        folder: its files.
        record: what was started.
    """

    folder: Path
    record: JobRecord

    @property
    def output_file(self) -> Path:
        """What the command has printed; the process holds it open."""
        return self.folder / OUTPUT

    @property
    def is_running(self) -> bool:
        """Whether its process runs on this machine."""
        return processes.holds(self.record.pid, self.output_file)

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs, or if the studio was closed before it ended."""
        try:
            return int((self.folder / EXIT).read_text())
        except (OSError, ValueError):
            return None

    def output(self) -> str:
        """The end of what it has printed."""
        try:
            with self.output_file.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - SHOWN_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def stop(self) -> bool:
        """Stop it as Ctrl-C would; whether a signal was sent."""
        return processes.interrupt(self.record.pid, self.output_file, group=True)


class Jobs:
    """The commands that were started for one folder of runs.

    Args:
        runs: the folder of the runs; created with the first command.
    """

    def __init__(self, runs: Path) -> None:
        self.folder = runs / FOLDER

    def list(self, kinds: Iterable[Kind] = (), about: str | None = None) -> list[Job]:
        """The jobs of some kinds, newest first; without kinds, all of them."""
        wanted = set(kinds)
        result = []
        for file in sorted(self.folder.glob("*/job.json"), reverse=True):
            try:
                job = Job(file.parent, read_record(file, JobRecord))
            except LowmedError:  # damaged, or of another version
                continue
            if (not wanted or job.record.kind in wanted) and about in (None, job.record.about):
                result.append(job)
        return result

    def latest(self, kinds: Iterable[Kind], about: str | None = None) -> Job | None:
        """The newest job of some kinds."""
        return next(iter(self.list(kinds, about)), None)

    def start(
        self,
        kind: Kind,
        about: str,
        *commands: Sequence[str],
        require: Callable[[], None] = lambda: None,
    ) -> Job:
        """Start commands of lowmed, one after the other, as one process.

        Args:
            kind: what they do.
            about: run, data set or recipe.
            commands: the words after `lowmed` of each.
            require: raises an error if they must not be started; two starts never check at the same time.

        Raises:
            LowmedError: of `require`, or the folder cannot be written.
        """
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / ".gitignore").write_text("*\n")
            with locked(self.folder / LOCK, wait=True):
                require()
                self._forget_oldest()
                folder = _new_folder(self.folder, kind)
                process = processes.start(_command(commands), folder / OUTPUT)
                record = JobRecord(
                    kind=kind,
                    about=about,
                    command="\n".join(command_line(command) for command in commands),
                    pid=process.pid,
                    started=utc_now(),
                )
                record.write(folder / "job.json")
        threading.Thread(
            target=lambda: write_text(folder / EXIT, f"{process.wait()}\n"), name="exit code", daemon=True
        ).start()
        return Job(folder, record)

    def _forget_oldest(self) -> None:
        for job in self.list()[KEPT:]:
            if not job.is_running:
                for file in job.folder.iterdir():
                    file.unlink()
                job.folder.rmdir()


def command_line(words: Sequence[str]) -> str:
    """A command of lowmed as a user would type it."""
    return shlex.join(["lowmed", *words])


def _command(commands: Sequence[Sequence[str]]) -> list[str]:
    full = [[sys.executable, "-m", "lowmed", *words] for words in commands]
    if len(full) == 1:
        return full[0]
    return ["/bin/sh", "-c", " && ".join(shlex.join(words) for words in full)]


def _new_folder(parent: Path, kind: str) -> Path:
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{kind}"
    folder = parent / stamp
    folder.mkdir()
    return folder
