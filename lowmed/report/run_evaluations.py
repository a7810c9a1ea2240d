"""The stored evaluations of a run, read without the answer rules: the list of runs must be fast."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lowmed.errors import LowmedError
from lowmed.records import Record, read_record
from lowmed.report.run_records import EvaluatedPart, EvaluationSummary, StoredAccuracy
from lowmed.run import Run


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Accuracy(_Tolerant):
    accuracy: float
    by_image: tuple[float, float]

    def stored(self) -> StoredAccuracy:
        return StoredAccuracy(accuracy=self.accuracy, by_image=self.by_image)


class _Metrics(_Tolerant):
    strict: _Accuracy | None
    lenient: _Accuracy | None


class _Part(_Tolerant):
    questions: int
    stamp: str
    results: dict[str, _Metrics]


class _Report(Record):
    """The fields of `EvalReport` that are shown; building all of its classes takes longer than reading 200 runs."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    source: str
    data_digest: str
    prompt_digest: str
    max_image_tokens: int
    max_new_tokens: int
    rules: int
    splits: dict[str, _Part]


def evaluations(run: Run) -> tuple[list[EvaluationSummary], list[str]]:
    """The stored reports of a run's evaluations, newest first, and why others cannot be read."""
    result, problems = [], []
    files = [(file.stat().st_mtime, file) for file in (run.folder / "evals").glob("*/report.json")]
    for _, file in sorted(files, reverse=True):
        try:
            result.append(_summary(file.parent, read_record(file, _Report)))
        except LowmedError as error:
            problems.append(f"{file.parent.relative_to(run.folder)}: {error.what}")
        except OSError as error:
            problems.append(f"{file.parent.relative_to(run.folder)}: it cannot be read ({error.strerror})")
    return result, problems


def _summary(folder: Path, report: _Report) -> EvaluationSummary:
    return EvaluationSummary(
        folder=str(folder),
        settings=report.model_dump(exclude={"format", "splits"}),
        parts={
            split: EvaluatedPart(
                questions=part.questions,
                stamp=part.stamp,
                strict={system: result.strict.stored() for system, result in part.results.items() if result.strict},
                lenient={system: result.lenient.stored() for system, result in part.results.items() if result.lenient},
            )
            for split, part in report.splits.items()
        },
    )
