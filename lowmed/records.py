"""Typed, versioned records: the base class of every JSON file that lowmed reads back, and the records of a run."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lowmed.errors import LowmedError, RunError
from lowmed.files import load_json, require_format, write_json


class Part(BaseModel):
    """An object inside a record: frozen, and closed to unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Record(Part):
    """One JSON file. `format` is the version of its layout; a change that old code cannot read raises it."""

    format: int = 1
    """Version of the layout."""

    def as_json(self) -> dict[str, Any]:
        """The content of the file: the fields that were set, and the format."""
        return {"format": self.format, **self.model_dump(mode="json", exclude_unset=True)}

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            SetupError: the disk is full or not writable.
        """
        write_json(path, self.as_json())


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(path: Path, cls: type[AnyRecord], *, error: type[LowmedError] = RunError) -> AnyRecord:
    """Read a record and validate every field.

    Args:
        path: the JSON file.
        cls: the record's class.
        error: the class of the error that is raised.

    Raises:
        LowmedError: the file is missing, damaged, or of a newer format.
    """
    repair = "restore the file, or delete it and repeat the command that wrote it"
    try:
        content = load_json(path)
    except FileNotFoundError:
        raise error("the file does not exist", str(path), repair) from None
    except ValueError as reason:
        raise error(f"the file is not JSON: {reason}", str(path), repair) from None
    return parse_record(content, path, cls, error=error)


def parse_record(content: Any, path: Path, cls: type[AnyRecord], *, error: type[LowmedError] = RunError) -> AnyRecord:
    """Validate the parsed content of a record's file.

    Args:
        content: the parsed JSON.
        path: the file, for error messages.
        cls: the record's class.
        error: the class of the error that is raised.

    Raises:
        LowmedError: as `read_record`.
    """
    require_format(content, cls.model_fields["format"].default, path, error=error)
    try:
        return cls.model_validate(content)
    except ValidationError as reason:
        first = reason.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the whole file"
        raise error(
            f"the file is not a valid {cls.__name__}: {field}: {first['msg']}",
            str(path),
            "restore the file, or delete it and repeat the command that wrote it",
        ) from None


class Line(BaseModel):
    """The fields of a line of a JSON-lines file that lowmed reads, with their types; a line may have others."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class StepLine(Line):
    """A line of a training step."""

    step: int = Field(ge=0, le=10**9)


class MetricsLine(StepLine):
    """A line of metrics.jsonl or canaries.jsonl: numbers only, or null where a reward does not apply."""

    __pydantic_extra__: dict[str, float | None]


class DevLine(StepLine):
    """A line of dev.jsonl: an evaluation during training."""

    __pydantic_extra__: dict[str, float | None]
    questions_digest: str
    accuracy: float = Field(ge=0, le=1)
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    unread: float = Field(allow_inf_nan=False)
    tokens: float = Field(allow_inf_nan=False)


class ScoreOfLine(Line):
    """The value of a reward, before the gates, and its reason."""

    value: float | None
    why: str
    paid: float | None = None


class RolloutLine(StepLine):
    """A line of rollouts.jsonl: one sampled completion with its scores."""

    row: int
    id: str
    completion: str
    scores: dict[str, ScoreOfLine]


def check_lines(rows: Sequence[Any], path: Path, cls: type[BaseModel], *, fix: str) -> None:
    """Check the fields of the rows of a JSON-lines file.

    Args:
        rows: the rows.
        path: the file, for error messages.
        cls: the fields of a row.
        fix: the fix in the error.

    Raises:
        RunError: a field is missing or has another type.
    """
    try:
        _list_of(cls).validate_python(rows)
    except ValidationError as reason:
        first = reason.errors(include_input=False, include_url=False)[0]
        number, *field = first["loc"]
        what = f"a row of the file is damaged: {'.'.join(map(str, field)) or 'the row'}: {first['msg']}"
        raise RunError(what[:300], f"{path}, row {int(number) + 1}", fix) from None


@functools.cache
def _list_of(cls: type[BaseModel]) -> TypeAdapter[list[BaseModel]]:
    return TypeAdapter(list[cls])  # type: ignore[valid-type]


def printable(text: str) -> str:
    """The text with lone surrogates replaced: a completion may hold characters that UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


class EarlierMachine(Part):
    """What trained a run until a step at which it was resumed with something else."""

    until_step: int
    """Step of the checkpoint from which it was resumed."""
    card: str
    """GPU name, or CPU."""
    precision: str
    """bf16, fp16 or fp32."""
    versions: dict[str, str]
    """Versions of the packages whose version has changed."""


class JudgeUsage(Part):
    """Requests to a judge: counts, tokens and cost, without any of the texts."""

    host: str
    """Scheme, name and port of the server."""
    model: str
    """Name of the judge model on that server."""
    rubrics: tuple[str, ...]
    """Name and digest of each rubric."""
    content: str
    """Content of a request, in words."""
    verdicts_by: dict[str, int]
    """Number of verdicts by rule, from the cache, by the judge, and failed."""
    requests: int
    """Requests sent."""
    malformed: int
    """Completions that held no valid verdict."""
    prompt_tokens: int
    """As counted by the server."""
    completion_tokens: int
    """As counted by the server."""
    cost: float | None
    """In the currency of the prices; null without prices."""


class RunRecord(Record):
    """State and environment of a training run."""

    name: str
    """Recipe name, with `-nano` for the embedded model."""
    status: Literal["running", "stopped", "failed", "finished"]
    """`stopped` and `failed` runs can be resumed."""
    started: str
    """UTC time at which the run directory was created."""
    recipe_digest: str
    """Digest of the resolved recipe."""
    ended: str | None = None
    """UTC time at which training last ended."""
    reason: str | None = None
    """Why the run stopped before its last step, or finished before it."""
    error: str | None = None
    """Why the run failed."""
    continues: str | None = None
    """Run and step from whose checkpoint this run continues, with more steps."""
    steps: int | None = None
    """Optimizer steps done."""
    adapter_step: int | None = None
    """Step of the saved adapter: the last one, or the best one by the evaluations during training."""
    seconds: float | None = None
    """Training time over all sessions."""
    peak_gib: float | None = None
    """Peak GPU memory over all sessions, in GiB."""
    images_encoded: int | None = None
    """Passes of an image through the vision tower."""
    card: str | None = None
    """GPU name, or CPU."""
    precision: str | None = None
    """bf16, fp16 or fp32."""
    backend: str | None = None
    """transformers or unsloth."""
    batch: dict[str, Any] | None = None
    """Fields of the planner's `Batch`; a resumed run keeps them."""
    batch_halved_after: int | None = None
    """Step after which GPU memory ran out; `batch` has had at most half the rows in a forward pass since."""
    sampling_halved_after: int | None = None
    """Step after which GPU memory ran out in sampling; `batch` has had half the completions at once since."""
    rows_per_draw: int | None = None
    """Completions whose random numbers are drawn together, if several calls sample them; a resumed run keeps it."""
    processes: int = 1
    """Processes, with a GPU each, that trained it last."""
    earlier_processes: tuple[tuple[int, int], ...] = ()
    """Step and number of processes until then, for each resume with another number."""
    earlier_machines: tuple[EarlierMachine, ...] = ()
    """GPU, precision and versions until a step, for each resume with others."""
    base_commit: str | None = None
    """Hub commit of the base model."""
    python: str | None = None
    """Python version."""
    versions: dict[str, str] | None = None
    """Package versions."""
    data_digest: str | None = None
    """Digest of the data and its split."""
    pairs_digest: str | None = None
    """Digest of the pairs of completions that the run trains on; null for methods without pairs."""
    unpaired_digest: str | None = None
    """Digest of the labeled completions that the run trains on; null for methods without them."""
    explanations_by: tuple[str, ...] = ()
    """Models whose completions are the explanations of the data; empty for other explanations."""
    source_shares: dict[str, float] | None = None
    """Share of each of several data sets in the training draws; null for a single one."""
    prompt_digests: dict[str, str] | None = None
    """Digests of the prompts for training (`train`) and for evaluation (`infer`)."""
    reward_code: tuple[dict[str, str], ...] = ()
    """SHA-256 of each file of the custom rewards, and of the modules of its folder that it imports."""
    image_pixels: tuple[int, int] | None = None
    """Smallest and largest number of pixels of a prepared image."""
    judge_usage: tuple[JudgeUsage, ...] = ()
    """Requests to the judge of a reward, one entry a session."""
