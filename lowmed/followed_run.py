"""The run of a process that writes no files, because the first process of the run writes them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lowmed.records import RunRecord, parse_record
from lowmed.run import RECORD, Run

if TYPE_CHECKING:
    from lowmed.recipe.track import TrackSpec


@dataclass(frozen=True)
class FollowedRun(Run):
    """A run whose files the first process writes: changes of the record stay in memory, and rows are not written."""

    _record: list[RunRecord] = field(default_factory=list, compare=False)

    @property
    def record(self) -> RunRecord:
        """The content of run.json when it was first read, with the changes of this process."""
        if not self._record:
            self._record.append(super().record)
        return self._record[0]

    def update(self, **fields: Any) -> None:
        """Set fields of the record in memory."""
        self._record[:] = [parse_record({**self.record.as_json(), **fields}, self.folder / RECORD, RunRecord)]

    def track_by(self, track: "TrackSpec") -> None:
        """Nothing: the first process does it."""

    def append(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Nothing: the first process does it."""

    def rewind(self, name: str, step: int) -> None:
        """Nothing: the first process does it."""
