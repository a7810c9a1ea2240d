"""What `lowmed runs` reports about run directories; printed by --json, not stored."""

from typing import Any, Literal

from lowmed.records import Part, Record


class StoredAccuracy(Part):
    """An accuracy as it is stored in the report of an evaluation."""

    accuracy: float
    """Share of correct questions."""
    by_image: tuple[float, float]
    """Its 95 % interval, by image."""


class HeldOutAccuracy(Part):
    """Strict accuracy of the tuned model on one held-out part."""

    source: str
    """Data source."""
    split: str
    """The held-out part."""
    questions: int
    """Number of questions."""
    strict: StoredAccuracy
    """Strict accuracy."""


class RunSummary(Part):
    """One folder among the runs."""

    folder: str
    """Path of the folder."""
    status: Literal["running", "interrupted", "stopped", "failed", "finished", "damaged", "leftover", "other"]
    """`running`: a process holds its lock. `leftover`: a removal was interrupted. `other`: not a run."""
    reason: str
    """Why it has this status, or empty."""
    recipe: str = ""
    """Recipe name, with `-nano` for the embedded model."""
    method: str = ""
    """Training method."""
    source: str = ""
    """Data source."""
    steps: int = 0
    """Optimizer steps done."""
    max_steps: int | None = None
    """Optimizer steps of the recipe; null if unknown."""
    accuracy: HeldOutAccuracy | None = None
    """First held-out part of the newest evaluation of the tuned model; null without one."""
    bytes: int
    """Size on disk."""
    started: str | None = None
    """UTC time at which the run was created; null if unknown."""


class RunList(Record):
    """Result of `lowmed runs list`."""

    folder: str
    """The folder of the runs."""
    runs: tuple[RunSummary, ...]
    """Newest first; folders that are not readable runs last."""


class EvaluatedPart(Part):
    """Results of one evaluation on one held-out part, as stored in its report."""

    questions: int
    """Number of questions."""
    stamp: str
    """Warning about shared images or changed data, or empty."""
    strict: dict[str, StoredAccuracy]
    """Strict accuracy by system: base, tuned or endpoint."""
    lenient: dict[str, StoredAccuracy]
    """Lenient accuracy by system."""


class EvaluationSummary(Part):
    """One evaluation of a run, as stored in its report."""

    folder: str
    """Path of the evaluation."""
    settings: dict[str, Any]
    """What must be equal before accuracies may be compared: data, prompts, budgets, answer rules."""
    parts: dict[str, EvaluatedPart]
    """By held-out part."""


class Checkpoint(Part):
    """One checkpoint of a run."""

    name: str
    """Its folder."""
    complete: bool
    """Whether training can be resumed from it."""
    bytes: int
    """Size on disk."""


class RunDetails(Record):
    """Result of `lowmed runs show`."""

    run: RunSummary
    """The summary."""
    continues: str | None = None
    """Run and step from whose checkpoint it continues."""
    dev: tuple[str, ...] = ()
    """What the evaluations during training showed."""
    recipe_digest: str
    """Digest of the resolved recipe."""
    shipped_recipe: str | None
    """The shipped recipe of this name; null if none exists."""
    recipe_changes: dict[str, tuple[Any, Any]]
    """Key -> value in the shipped recipe and in this run, where they differ."""
    data_digest: str | None
    """Digest of the data and its split."""
    parts: dict[str, int]
    """Part of the data -> number of questions."""
    card: str | None
    """GPU name, or CPU."""
    seconds: float | None
    """Training time over all sessions."""
    peak_gib: float | None
    """Peak GPU memory over all sessions, in GiB."""
    metrics: dict[str, Any]
    """Metrics of the last step."""
    evaluations: tuple[EvaluationSummary, ...]
    """Stored evaluations, newest first."""
    checkpoints: tuple[Checkpoint, ...]
    """Stored checkpoints, newest first."""
    warnings: tuple[str, ...]
    """What a reader of the results must know."""
    next: str
    """The next command, or empty while the run is running."""


class RunColumn(Part):
    """One run of a comparison."""

    run: RunSummary
    """The summary."""
    settings: dict[str, Any]
    """Recipe keys that differ between the runs -> value; a key that the recipe lacks is absent."""
    final: dict[str, float]
    """Mean loss, and for GRPO mean reward, over the last steps."""
    evaluations: dict[str, EvaluationSummary]
    """By the name of the evaluation's folder, which is that of its data source."""


class RunsComparison(Record):
    """Result of `lowmed runs compare`."""

    steps_averaged: int
    """Number of last steps behind `final`."""
    runs: tuple[RunColumn, ...]
    """The runs in the order given."""
    warnings: tuple[str, ...]
    """Why accuracies must not be compared."""
