"""The results of verify, merge, export and ask, and the JSON files of a package: parity.json and lowmed.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lowmed.errors import RunError
from lowmed.files import read_json, require_format

FORMAT = 1  # of both files; a change that older versions cannot read raises it
PARITY = "parity.json"
PACKAGE = "lowmed.json"
REWARD_CODE = "reward code is that of the run"  # the only check that is not of the adapter

Reference = Literal["original", "dequantized"]
Into = Literal["16bit", "4bit"]
PackageKind = Literal["merged", "adapter"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of an adapter or a merged model; `detail` is the measured value."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Parity:
    """Agreement of a merged model with the adapter on its base.

    Attributes:
        reference: the weights that the adapter was added to.
        questions: number of questions that both answered.
        same_answers: share of questions with the same extracted answer.
        same_completions: share of questions with the same tokens.
        max_logit_difference: largest difference of a logit, in nats.
        mean_logit_difference: mean over questions, in nats.
    """

    reference: str
    questions: int
    same_answers: float
    same_completions: float
    max_logit_difference: float
    mean_logit_difference: float


@dataclass(frozen=True, slots=True)
class Requirements:
    """Resources of a merge: host memory and disk in bytes, time in seconds."""

    ram_bytes: int
    disk_bytes: int
    seconds: float

    def __str__(self) -> str:
        time = f"about {self.seconds:.0f} s" if self.seconds >= 1 else "under a second"
        return (
            f"host memory {self.ram_bytes / 2**30:.1f} GiB, disk {self.disk_bytes / 2**30:.2f} GiB, {time} on this disk"
        )


@dataclass(frozen=True)
class Report:
    """Checks with their verdict.

    Attributes:
        checks: in the order in which they ran.
        measured: whether a model answered questions; False if only files were checked.
    """

    checks: tuple[Check, ...]
    measured: bool

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON, with the number of the file format and the verdict first."""
        return {"format": FORMAT, "passed": self.passed, **asdict(self)}


@dataclass(frozen=True)
class VerifyReport(Report):
    """The result of `lowmed verify`; `parity` compares the merged model of --against."""

    parity: Parity | None = None


@dataclass(frozen=True)
class MergeReport(Report):
    """The result of `lowmed merge`, and the content of parity.json.

    Attributes:
        reference: the weights that the adapter was added to.
        into: precision of the merged weights.
        requirements: the estimate made before the merge.
        retained: share of the adapter left after rounding; None if the merge did not start.
        peak_memory_gib: host memory of this process after the merge; None if the merge did not start.
        parity: agreement with the adapter, of the written merge first, then of the other reference.
        recommended: the reference that agrees best; None without a measurement.
        out: the merged folder, or the folder that keeps a merge that failed a check; None if there is none.
    """

    reference: Reference
    into: Into
    requirements: Requirements
    retained: float | None = None
    peak_memory_gib: float | None = None
    parity: tuple[Parity, ...] = ()
    recommended: str | None = None
    out: str | None = None


@dataclass(frozen=True)
class ExportReport:
    """The result of `lowmed export`.

    Attributes:
        target: a key of `ship.export.TARGETS`.
        out: the exported folder, or the folder that keeps an export that failed a check; None if there is none.
        files: name -> bytes of every file in it; empty if a check failed.
        checks: the checks of the adapter or the merge; None if the folder had been exported before.
        repository: owner/name on the hub, for the target `hub`.
        private: whether that repository is private.
        url: address of the upload; None if nothing was uploaded.
        instructions: commands that serve or use the export, as text.
    """

    target: str
    out: str | None
    files: Mapping[str, int]
    checks: Report | None = None
    repository: str | None = None
    private: bool = True
    url: str | None = None
    instructions: str = ""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return self.checks is None or self.checks.passed

    def as_json(self) -> dict[str, Any]:
        """The report as JSON, with the number of the file format and the verdict first."""
        checks = self.checks.as_json() if self.checks else None
        return {"format": FORMAT, "passed": self.passed, **asdict(self), "checks": checks}


@dataclass(frozen=True, slots=True)
class Vote:
    """An answer among sampled completions: how many gave it, and their share."""

    answer: str
    completions: int
    share: float


@dataclass(frozen=True, slots=True)
class SampledAnswers:
    """Answers of sampled completions; `unread` counts completions without a single readable answer."""

    drawn: int
    temperature: float
    unread: int
    votes: tuple[Vote, ...]


@dataclass(frozen=True)
class AskResult:
    """A model's completion to one question, and the answer read from it.

    Attributes:
        model: the run, model folder or hub id.
        question: as given.
        images: `image 1`, `image 2` ..., because names of files may be names of patients.
        prompt: name of the prompt family.
        prompt_digest: digest of the prompt family.
        completion: the greedy completion.
        reasoning: the text in its think tags, or "".
        answer: the answer read from it; None if there is no single answer.
        strict: whether the answer is in one tag, as the prompt requires.
        flags: why the answer is unread or not strict.
        tokens: length of the completion.
        finish_reason: `stop`, or `length` if the token limit truncated it.
        samples: answers of sampled completions, if any were drawn.
    """

    model: str
    question: str
    images: tuple[str, ...]
    prompt: str
    prompt_digest: str
    completion: str
    reasoning: str
    answer: str | None
    strict: bool
    flags: tuple[str, ...]
    tokens: int
    finish_reason: str
    samples: SampledAnswers | None = None

    def as_json(self) -> dict[str, Any]:
        """The result as JSON, with the number of the file format first."""
        return {"format": FORMAT, **asdict(self)}


def read_versioned(path: Path) -> dict[str, Any]:
    """The content of a parity.json or lowmed.json.

    Raises:
        RunError: the file cannot be read, or a newer version of lowmed wrote it.
    """
    try:
        content = read_json(path)
        version = int(content["format"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path.name} cannot be read", str(path), "export the run again") from error
    require_format({"format": version}, FORMAT, path)
    return content
