"""A merge from start to end: plan it, write a staging folder, compare it with the adapter, move it if it passes."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from lowmed.adapter.intake import read_adapter
from lowmed.engine import device
from lowmed.errors import RecipeError
from lowmed.evaluation.target import EvalTarget, splits_to_evaluate
from lowmed.files import disk_errors, require_absent, write_json
from lowmed.progress import Advance, Log, no_log
from lowmed.recipe import ModelSpec
from lowmed.run import Run
from lowmed.ship import preflight, verify
from lowmed.ship.adapter import target_tensors
from lowmed.ship.base_model import base_family, base_tensors, check_revision, find_base
from lowmed.ship.completions import QuestionSet
from lowmed.ship.export import ExportRequest, export_report
from lowmed.ship.merge import PROGRESS, MergeInputs, dequantize, retained_share, write_shards
from lowmed.ship.package import write_package
from lowmed.ship.records import PARITY, Check, ExportReport, Into, MergeReport, Parity, Reference, Requirements
from lowmed.ship.target import open_finished_run
from lowmed.ship.weights import loaded_names, shard_files


@dataclass(frozen=True)
class MergeJob:
    """A planned merge. Every input is checked, and nothing is written yet.

    Attributes:
        run: the run whose adapter is merged.
        model: its model, perhaps at another path than in the recipe.
        inputs: base, adapter and reference.
        into: precision of the result.
        out: the folder to create.
        questions: answered by adapter and merged model; None to leave the comparison out.
        checks: checks of the adapter's files.
        requirements: estimate of memory, disk and time.
    """

    run: Run
    model: ModelSpec
    inputs: MergeInputs
    into: Into
    out: Path
    questions: QuestionSet | None
    checks: tuple[Check, ...]
    requirements: Requirements

    @property
    def staging(self) -> Path:
        """The hidden folder next to `out` that is written first. A killed merge resumes there."""
        return self.out.with_name(f".{self.out.name}.merging")

    @property
    def other_reference(self) -> MergeInputs | None:
        """The same merge over the other reference; None if both are the same weights."""
        if self.model.load_in == "16bit" or self.into == "4bit":
            return None
        reference: Reference = "original" if self.inputs.reference == "dequantized" else "dequantized"
        return replace(self.inputs, reference=reference)

    @property
    def shards(self) -> int:
        """The number of files to write."""
        return len(shard_files(self.inputs.base))


def plan_merge(
    run: Run,
    target: EvalTarget,
    out: Path,
    *,
    reference: Reference | None,
    into: Into,
    questions: QuestionSet | None,
) -> MergeJob:
    """Check every input of a merge.

    Args:
        run: the run to merge.
        target: its evaluation settings; the model may point at another copy of the base.
        out: the folder to create.
        reference: weights that the adapter is added to. None is `original`, or for 4 bits `dequantized`.
        into: precision of the result.
        questions: answered by adapter and merged model, or None to leave the comparison out.

    Raises:
        LowmedError: another base, damaged files, or insufficient memory or disk.
    """
    model = target.model
    if reference == "dequantized" and model.load_in == "16bit":
        raise RecipeError("the run was not trained in 4 bits", "--reference dequantized", "omit --reference")
    if questions:
        device.find_device(model)  # fails now, and not after minutes of merging
    base = find_base(model)
    check_revision(base, run.record.base_commit)
    tensors = base_tensors(base)
    adapter = read_adapter(str(run.adapter)).named_for(base_family(base))
    default: Reference = "dequantized" if into == "4bit" and model.load_in == "4bit" else "original"
    inputs = MergeInputs(base, tensors, adapter, target_tensors(adapter, tensors), reference or default)
    requirements = preflight.estimate(tensors, inputs.changed, out, four_bit=into == "4bit")
    preflight.require_space(requirements, out, ram=preflight.free_ram(), disk=preflight.free_disk(out))
    checks = tuple(verify.check_files(adapter, base, tensors))
    return MergeJob(run, model, inputs, into, out, questions, checks, requirements)


def prepare_merge(
    run: str,
    out: Path,
    *,
    reference: str | None = None,
    into: str = "16bit",
    questions: int,
    on: str | None = None,
    path: str | None = None,
    base: str | None = None,
    log: Log = no_log,
) -> MergeJob:
    """Plan a merge from the options of a command.

    Args:
        run: directory of a finished run.
        out: the folder to create.
        reference: `original` or `dequantized`; None for the default.
        into: `16bit` or `4bit`.
        questions: number of held-out questions that compare adapter and merged model; 0 leaves the comparison out.
        on: another source of questions than the run's held-out split.
        path: folder of that source.
        base: folder of the 16-bit base, if it has moved.
        log: gets one line with the estimate of memory, disk and time.

    Raises:
        LowmedError: the merge is not possible.
    """
    if reference not in (None, "original", "dequantized"):
        raise RecipeError(f"there is no reference `{reference}`", "--reference", "use original or dequantized")
    if into not in ("16bit", "4bit"):
        raise RecipeError(f"there is no precision `{into}`", "--into", "use 16bit or 4bit")
    require_absent(out)
    opened, target = open_finished_run(run, base)
    question_set = load_questions(target, on, path, questions) if questions else None
    job = plan_merge(
        opened,
        target,
        out,
        reference=cast("Reference | None", reference),
        into=cast("Into", into),
        questions=question_set,
    )
    log(f"needs   {job.requirements}")
    return job


def load_questions(target: EvalTarget, on: str | None, path: str | None, count: int) -> QuestionSet:
    """The first held-out questions of the run, or those of another source.

    Args:
        target: run or model.
        on: another source, or None for the run's own.
        path: folder of that source.
        count: at most this many.

    Raises:
        LowmedError: the data cannot be loaded, or differ from the run's.
    """
    [(data_split, _), *_] = splits_to_evaluate(target, on, path, count)
    samples = next(iter(data_split.held_out.values()))[:count]
    return QuestionSet(samples, target.family, data_split.open_image, target.eval.max_new_tokens)


def run_merge(job: MergeJob, advance: Advance, finish: Callable[[Path], None] | None = None) -> MergeReport:
    """Carry out a planned merge. The report is also written as parity.json.

    The folder is moved to `job.out` only if every check passes; otherwise it stays in the staging folder.

    Args:
        job: the plan.
        advance: called with the number of finished shards and the name of the last one.
        finish: adds files to the folder before it is moved.

    Raises:
        LowmedError: the disk or the model does not allow it. The same job resumes where it stopped.
    """
    report = MergeReport(job.checks, False, job.inputs.reference, job.into, job.requirements)
    if not report.passed:
        return report
    retained = write_shards(job.inputs, job.staging, advance)
    peak = round(device.peak_gib("cpu"), 3)
    write_package(job.run, job.inputs.folder, job.staging, "merged", reference=job.inputs.reference, into=job.into)
    folder = job.staging
    if job.into == "4bit":
        folder, retained = _quantize(job)
    checks = [*job.checks, verify.retained_check(retained, job.into)]
    parity: list[Parity] = []
    if job.questions:
        adapter_checks, outputs = verify.check_adapter(job.model, job.inputs.folder, job.run.adapter, job.questions)
        parity = verify.measure_parity(job.model, folder, job.questions, outputs, job.other_reference)
        parity[0] = replace(parity[0], reference=job.inputs.reference)
        checks += [*adapter_checks, verify.parity_check(parity[0])]
    report = replace(
        report,
        checks=tuple(checks),
        measured=job.questions is not None,
        retained=retained,
        peak_memory_gib=peak,
        parity=tuple(parity),
        recommended=recommended_reference(parity) if parity else None,
    )
    content = report.as_json()
    del content["out"]  # the path is not valid on another machine
    write_json(folder / PARITY, content)
    if not report.passed:
        return replace(report, out=str(folder))
    if finish:
        finish(folder)
    (folder / PROGRESS).unlink(missing_ok=True)
    if folder != job.staging:  # first, so that a killed merge leaves nothing hidden next to its folder
        shutil.rmtree(job.staging, ignore_errors=True)
    with disk_errors(job.out):
        folder.replace(job.out)
    return replace(report, out=str(job.out))


def export_merged(request: ExportRequest) -> ExportReport:
    """Export target `merged`: the merged folder.

    Raises:
        LowmedError: the merge is not possible.
    """
    job = request.plan_merge(request.new_folder())
    with request.progress("merge", job.shards) as advance:
        report = run_merge(job, advance)
    return export_report(request.target, report)


def recommended_reference(parity: list[Parity]) -> str:
    """The reference whose merge agrees best with the adapter: by answers, then tokens, then logits."""
    best = max(parity, key=lambda one: (one.same_answers, one.same_completions, -one.mean_logit_difference))
    return best.reference


def _quantize(job: MergeJob) -> tuple[Path, float]:
    """Quantize the merged folder to NF4 with bitsandbytes; return the new folder and the retained share."""
    from transformers.utils import logging

    from lowmed.engine import transformers_backend
    from lowmed.engine.device import Device

    logging.disable_progress_bar()
    out = job.out.with_name(f".{job.out.name}.4bit")
    shutil.rmtree(out, ignore_errors=True)
    model = transformers_backend.load(
        str(job.staging),
        job.model.model_copy(update={"load_in": "4bit", "revision": None}),
        Device("cpu", "", 0.0, "bf16"),
    )
    with disk_errors(out):
        shutil.copytree(job.staging, out, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json", PROGRESS))
        model.save_pretrained(out)
    parameters, loaded_as = dict(model.named_parameters()), loaded_names(job.inputs.base)
    weights = ((name, dequantize(parameters[loaded_as[name]])) for name in job.inputs.targets)
    return out, retained_share(job.inputs, weights)
