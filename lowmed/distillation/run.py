"""Sample the completions, keep those that are right, and write the data set."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowmed.distillation import filters, folder, probe_completions, readme, rows
from lowmed.distillation.data import TRAIN, DistilData
from lowmed.distillation.estimate import cost
from lowmed.distillation.hints import with_hint
from lowmed.distillation.records import RECORD, DistilRecord, DistilResult
from lowmed.distillation.selection import Candidate, Selection, candidates, select
from lowmed.distillation.teacher import OpenTeacher
from lowmed.errors import DataError, RunError
from lowmed.evaluation import results_folder, runner
from lowmed.evaluation.answerer import Answerer
from lowmed.evaluation.controls import SAMPLED, Condition
from lowmed.evaluation.report import eval_settings
from lowmed.files import disk_errors, new_folder, to_jsonl, write_text
from lowmed.lock import HeldError, locked
from lowmed.progress import Progress
from lowmed.records import read_record
from lowmed.sample import Sample

README, COMPLETIONS, LOCK = "README.md", "completions", "lock"
RATIONALIZED = "rationalized"
Load = Callable[[int], Answerer]  # takes the seed


@dataclass(frozen=True)
class DistilJob:
    """A distillation: teacher, data, the questions, and the record that is completed.

    Attributes:
        out: the folder of the new data set.
        teacher: the teacher.
        data: the data set.
        questions: the training questions to distill.
        record: settings and estimate.
    """

    out: Path
    teacher: OpenTeacher
    data: DistilData
    questions: tuple[Sample, ...]
    record: DistilRecord


def stored_completions(out: Path, system: str) -> Counter[str]:
    """How many completions of each question an earlier call stored, by its id; without those with a hint."""
    return Counter(
        str(row["id"]) for row in _read(out, system, SAMPLED) if row["finish_reason"] != filters.REJECTED_REASON
    )


def run(job: DistilJob, load: Load, progress: Progress) -> DistilRecord:
    """Generate the missing completions, and write the data set from all stored ones.

    Args:
        job: the distillation.
        load: loads the teacher; called only if completions are missing.
        progress: shows progress.

    Returns:
        The record with its result.

    Raises:
        RunError: the folder holds completions of another teacher, or with other settings.
        DataError: no completion can be kept, or another process writes the folder.
    """
    out, record = job.out, job.record
    if not out.exists():
        with new_folder(out) as aside:  # a killed process leaves no folder that the next one would refuse
            record.write(aside / RECORD)
    with _locked(out), disk_errors(out):
        _start(job)
        selection = select(_candidates(job, load, progress), record.keep)
        rows.require_kept(selection, out / COMPLETIONS)
        distilled = job.data.train if record.keep_all else job.questions
        train = rows.training_rows(distilled, selection, keep_all=record.keep_all)
        left_out = 0 if record.keep_all else len(job.data.train) - len(selection.kept)
        splits = {TRAIN: train, **job.data.others}
        notes, tokens = rows.notes(train, left_out), job.teacher.target.model.max_image_tokens
        digest = folder.write(out, job.data.dataset, splits, notes, tokens)
        record = record.model_copy(update={"result": _result(job, selection, splits, digest)})
        write_text(out / README, readme.readme(record))
        record.write(out / RECORD)
    return record


def _result(job: DistilJob, selection: Selection, splits: folder.Splits, digest: str) -> DistilResult:
    sampled = selection.counts(hinted=False)
    rationalized = selection.counts(hinted=True) if job.record.hint_digest else None
    passes = [counts for counts in (sampled, rationalized) if counts]
    prompt_tokens, tokens = sum(one.prompt_tokens for one in passes), sum(one.completion_tokens for one in passes)
    return DistilResult(
        questions=len(job.questions),
        questions_kept=len(selection.kept),
        sampled=sampled,
        rationalized=rationalized,
        rows={split: len(samples) for split, samples in splits.items()},
        cost=cost(prompt_tokens, tokens, job.record.prices),
        samples_sha256=digest,
    )


def _candidates(job: DistilJob, load: Load, progress: Progress) -> list[Candidate]:
    """All completions of the questions; with a hint too where none without it can be kept."""
    samples = {sample.id: sample for sample in job.questions}
    if job.teacher.probe:
        return candidates(probe_completions.completions_of(job.teacher.probe, job.data), samples, hinted=False)
    every = candidates(_sampled(job, SAMPLED, job.questions, load, progress), samples, hinted=False)
    if not job.record.hint_digest:
        return every
    kept = select(every, job.record.keep).kept
    missing = [with_hint(sample) for sample in job.questions if sample.id not in kept]
    without = {sample.id: samples[sample.id] for sample in missing}
    return every + candidates(_sampled(job, RATIONALIZED, missing, load, progress), without, hinted=True)


def _sampled(
    job: DistilJob, name: str, questions: Sequence[Sample], load: Load, progress: Progress
) -> list[dict[str, Any]]:
    """The completions of one pass: those that are missing are generated, and each one is stored at once."""
    record, system = job.record, job.teacher.system
    condition = Condition(
        name, TRAIN, tuple(questions), job.data.dataset.open_image, record.samples, record.temperature or 0.0
    )
    seed = _remove_rejected(job.out, system, name)  # a later call must not draw the same completions again
    label = "distil" if name == SAMPLED else "distil, answer shown"
    with progress(label, runner.total([condition])) as advance:
        runner.run_conditions(job.out / COMPLETIONS, system, [condition], lambda: load(seed), train=(), advance=advance)
    return _read(job.out, system, name)


def _read(out: Path, system: str, name: str) -> list[dict[str, Any]]:
    return results_folder.read_rows(results_folder.completions_file(out / COMPLETIONS, system, name))


def _remove_rejected(out: Path, system: str, name: str) -> int:
    """Remove requests that a server rejected, so that they are sent again, and return the number of completions."""
    stored = _read(out, system, name)
    kept = [row for row in stored if row["finish_reason"] != filters.REJECTED_REASON]
    if len(kept) < len(stored):
        file = results_folder.completions_file(out / COMPLETIONS, system, name)
        write_text(file, to_jsonl(kept, ascii_only=True))
    return len(kept)


def _start(job: DistilJob) -> None:
    """Check that stored completions are of this teacher and these settings; what is stored stays until the end."""
    file, folder_of_completions = job.out / RECORD, job.out / COMPLETIONS
    has_completions = any(folder_of_completions.glob("*.jsonl"))
    if has_completions:
        before = read_record(file, DistilRecord).teacher
        if not before.same_as(job.teacher.identity):
            raise RunError(
                f"the folder holds completions of another teacher ({before.name})",
                str(job.out),
                "choose another --out, or remove that folder",
            )
    else:
        (folder_of_completions / results_folder.SETTINGS).unlink(missing_ok=True)
        job.record.write(file)
    if job.teacher.probe:
        return
    target = job.teacher.target
    settings = eval_settings(
        target.model,
        target.family,
        job.data.questions,
        max_new_tokens=target.eval.max_new_tokens,
        seen="",
        endpoint=job.teacher.endpoint is not None,
        temperature=job.record.temperature,
    )
    results_folder.open_folder(folder_of_completions, settings)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(out / LOCK))
        except HeldError as error:
            raise DataError(f"another process is writing this data set: {error}", str(out), "wait for it") from error
        except OSError as error:
            what = f"the folder cannot be locked ({error.strerror})"
            raise DataError(what, str(out), "choose another --out, on a local disk") from error
        stack.callback((out / LOCK).unlink, missing_ok=True)
        yield
