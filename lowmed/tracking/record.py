"""How far a run has been tracked, stored in the run."""

from lowmed.records import Record

FILE = "tracking.json"


class TrackingRecord(Record):
    """How far a run has been tracked, so that a resumed run goes on there. It holds no address and no key."""

    to: str
    """The tracker, as in the recipe."""
    online: bool
    """Whether it is a server."""
    project: str
    """Project of the tracked run."""
    run_id: str
    """Identifier of the tracked run in the tracker."""
    rows: dict[str, int]
    """Number of rows of each file that the tracker has."""
    completions_step: int
    """Last step whose sample completions the tracker has."""
