"""A merged folder from a run: planned, merged aside, measured against the adapter, and put in place if it passes."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lowmed.engine import device
from lowmed.errors import RecipeError, RunError
from lowmed.evaluate.target import EvalTarget, splits_to_evaluate
from lowmed.files import disk_errors, write_json
from lowmed.recipe import ModelSpec
from lowmed.run import Run
from lowmed.ship import adapter as adapters
from lowmed.ship import base_model as bases
from lowmed.ship import merge, package, preflight, verify
from lowmed.ship.merge import MergeWork, Reference
from lowmed.ship.preflight import Need
from lowmed.ship.replies_and_logits import Questions
from lowmed.ship.verify import Check
from lowmed.ship.weights import canonical

Into = Literal["16bit", "4bit"]
PARITY = "parity.json"
Advance = Callable[[int, str], None]


@dataclass(frozen=True)
class MergeJob:
    """All that a merge needs, checked: nothing is written before there is one."""

    run: Run
    model: ModelSpec
    work: MergeWork
    into: Into
    out: Path
    asked: Questions | None
    checks: list[Check]
    need: Need

    @property
    def aside(self) -> Path:
        """The hidden folder beside the final one; a merge of the same that was killed is taken up there."""
        return self.out.with_name(f".{self.out.name}.merging")

    @property
    def other(self) -> MergeWork | None:
        """The same merge over the other reference; None where the two do not differ."""
        if self.model.load_in == "16bit" or self.into == "4bit":
            return None
        return replace(self.work, reference="original" if self.work.reference == "dequantised" else "dequantised")


def plan_merge(
    who: EvalTarget, out: Path, *, reference: Reference | None, into: Into, asked: Questions | None
) -> MergeJob:
    """Plan a merge, and refuse it where it cannot be done.

    Args:
        who: a run, its model perhaps pointing at another copy of the base.
        out: where the folder will lie; it does not exist yet.
        reference: what the adapter is added to; None is the original 16-bit base, or for 4 bits what NF4 leaves of it.
        into: precision of the result.
        asked: the samples on which adapter and merged model are compared, or None to leave that out.

    Raises:
        LowmedError: no run, another base, damaged files, not enough memory or disk, or the folder exists.
    """
    run = run_of(who)
    if out.exists():
        raise RunError("the folder exists", str(out), "choose another --out, or remove it")
    if reference == "dequantised" and who.model.load_in == "16bit":
        raise RecipeError("the run was not trained in 4 bits", "--reference dequantised", "leave --reference out")
    if asked:
        device.find_device(who.model)  # before minutes of merging, not after
    base = bases.find_base(who.model)
    bases.check_unchanged(base, run.record.base_commit)
    tensors = bases.tensors(base)
    adapter = adapters.read(str(run.adapter))
    chosen: Reference = reference or ("dequantised" if into == "4bit" and who.model.load_in == "4bit" else "original")
    work = MergeWork(base, tensors, adapter, adapters.targets(adapter, tensors), chosen)
    need = preflight.need(tensors, work.changed, out, four_bit=into == "4bit")
    preflight.check(need, out, ram=preflight.free_ram(), disk=preflight.free_disk(out))
    return MergeJob(run, who.model, work, into, out, asked, verify.files(adapter, tensors), need)


def questions(who: EvalTarget, on: str | None, path: str | None, count: int) -> Questions:
    """The first samples that the run held out, or of another source.

    Raises:
        LowmedError: the data cannot be had, or are not those of the run.
    """
    [(data_split, _), *_] = splits_to_evaluate(who, on, path, count)
    samples = next(iter(data_split.held_out.values()))[:count]
    return Questions(samples, who.family, data_split.open_image, who.eval.max_new_tokens)


def run_of(who: EvalTarget) -> Run:
    """The run that is to be merged.

    Raises:
        RunError: it is something else, and has no adapter of its own.
    """
    if who.run is None:
        raise RunError("only a run can be merged", who.model.name, "name a run folder: it holds adapter and recipe")
    return who.run


def run_merge(job: MergeJob, advance: Advance, finish: Callable[[Path], None] | None = None) -> dict[str, Any]:
    """Carry out an order; what was found is also parity.json in the folder.

    The folder is at its place only if all checks pass; otherwise it stays aside.

    Args:
        job: what is to be done.
        advance: told how many shards are done, and the last one's name.
        finish: puts more into the folder before it is put in place.

    Raises:
        LowmedError: the disk or the model does not allow it; the same order goes on where it was.
    """
    checks = list(job.checks)
    if not all(check.passed for check in checks):
        return verify.document(checks, out=None)
    kept = merge.write(job.work, job.aside, advance)
    peak = device.peak_gib("cpu")
    trained = {"reference": job.work.reference, "into": job.into}
    package.write_package(job.run, job.work.folder, job.aside, "merged", **trained)
    result = job.aside
    if job.into == "4bit":
        result, kept = _quantised(job)
    checks.append(verify.survives(kept, job.into))
    found: dict[str, Any] = {**trained, "kept": kept, "merge_peak_gib": round(peak, 3), "need": asdict(job.need)}
    if job.asked:
        more, spoken = verify.adapter(job.model, job.work.folder, job.run.adapter, job.asked)
        sides = verify.parity(job.model, result, job.asked, spoken, job.other)
        checks += [*more, verify.alike(sides[0])]
        sides = [replace(sides[0], reference=job.work.reference), *sides[1:]]
        found |= {"parity": [asdict(side) for side in sides], "recommended": recommended(sides)}
    document = verify.document(checks, measured=job.asked is not None, **found)
    write_json(result / PARITY, document)
    if document["passed"]:
        if finish:
            finish(result)
        (result / merge.PROGRESS).unlink(missing_ok=True)
        with disk_errors(job.out):
            result.replace(job.out)
        shutil.rmtree(job.aside, ignore_errors=True)
    return {**document, "out": str(job.out if document["passed"] else result)}


def recommended(sides: list[verify.Parity]) -> str:
    """The reference whose merge agrees best with the adapter: by answers, then tokens, then logits."""
    return max(sides, key=lambda side: (side.answers, side.tokens, -side.mean_logit)).reference


def _quantised(job: MergeJob) -> tuple[Path, float]:
    """The merged folder once more in NF4, by transformers and bitsandbytes, and how much of the adapter is left."""
    from transformers.utils import logging

    from lowmed.engine import transformers_backend
    from lowmed.engine.device import Device

    logging.disable_progress_bar()
    out = job.out.with_name(f".{job.out.name}.4bit")
    shutil.rmtree(out, ignore_errors=True)
    model = transformers_backend.load(
        str(job.aside),
        job.model.model_copy(update={"load_in": "4bit", "revision": None}),
        Device("cpu", "", 0.0, "bf16"),
    )
    with disk_errors(out):
        shutil.copytree(job.aside, out, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json", merge.PROGRESS))
        model.save_pretrained(out)
    parameters = dict(model.named_parameters())
    pairs = ((name, merge.unpacked(parameters[canonical(name)])) for name in job.work.targets)
    return out, merge.left(job.work, pairs)
