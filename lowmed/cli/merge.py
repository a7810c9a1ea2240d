"""`lowmed merge`: the adapter of a run put into its 16-bit base, and measured against what it was."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowmed.cli import options
from lowmed.cli.progress import info, progress

if TYPE_CHECKING:
    from lowmed.ship.merge_job import MergeJob

RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="The folder of a finished run.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to make.")]
Reference = Annotated[
    str | None, typer.Option("--reference", help="What the adapter is added to: original (default) or dequantised.")
]
Into = Annotated[
    str, typer.Option("--into", help="16bit, or 4bit, which loses some of the training and says how much.")
]
Samples = Annotated[
    int, typer.Option("--samples", min=0, help="Held-out questions that adapter and merged answer; 0 = not measured.")
]
On = Annotated[str | None, typer.Option("--on", help="Another source of questions than the run's held-out ones.")]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of that source.")]
Base = Annotated[str | None, typer.Option("--base", help="Folder of the 16-bit base, where it is not as the run says.")]
MEASURED_ON = 32


def merge(
    run: RunFolder,
    out: Out,
    reference: Reference = None,
    into: Into = "16bit",
    samples: Samples = MEASURED_ON,
    on: On = None,
    path: PathTo = None,
    base: Base = None,
    as_json: options.Json = False,
) -> None:
    """Merge a run's adapter into its 16-bit base: a complete folder that plain transformers loads.

    \b
    lowmed merge runs/20260101-rarl --out rarl-merged
    lowmed merge runs/20260101-rarl --out rarl-merged --reference dequantised
    lowmed merge runs/20260101-rarl --out rarl-merged --base ~/Qwen2-VL-2B-Instruct

    One tensor is in memory at a time. A killed merge goes on where it was. The folder appears whole, and only if
    adapter and merged model answer alike: exit 1 and the reason otherwise.
    """
    job = plan(run, out, reference=reference, into=into, samples=samples, on=on, path=path, base=base)
    from lowmed.ship import merge_job

    with progress("merge", len({place.file for place in job.work.base.values()})) as advance:
        result = merge_job.run_merge(job, advance)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    if not result["passed"]:
        raise typer.Exit(1)


def plan(
    run: str,
    out: Path,
    *,
    reference: str | None = None,
    into: str = "16bit",
    samples: int = MEASURED_ON,
    on: str | None = None,
    path: str | None = None,
    base: str | None = None,
) -> "MergeJob":
    """A checked merge, after a line about what it takes.

    Raises:
        LowmedError: it cannot be done.
    """
    from dataclasses import replace

    from lowmed.engine import device
    from lowmed.errors import RecipeError
    from lowmed.evaluate.target import open_target

    device.silence_libraries()
    from lowmed.ship import merge_job

    if reference not in (None, "original", "dequantised"):
        raise RecipeError(f"there is no reference `{reference}`", "--reference", "use original or dequantised")
    if into not in ("16bit", "4bit"):
        raise RecipeError(f"nothing is merged into `{into}`", "--into", "use 16bit, or 4bit")
    who = open_target(run)
    if base:
        who = replace(who, model=who.model.model_copy(update={"name": base, "revision": None}))
    merge_job.run_of(who)  # asked for its questions first, anything else would be told as a mistake in the data
    asked = merge_job.questions(who, on, path, samples) if samples else None
    job = merge_job.plan_merge(who, out, reference=reference, into=into, asked=asked)  # type: ignore[arg-type]  # checked above
    info(f"needs   {job.need}")
    return job


def show(result: Mapping[str, Any]) -> None:
    """Print what a merge found."""
    for check in result["checks"]:
        print(f"{'ok  ' if check['passed'] else 'FAIL'}  {check['name']}: {check['told']}")
    for side in result.get("parity", ()):
        print(
            f"      over the {side['reference']} base: {side['answers']:.3f} of answers alike, "
            f"logits {side['mean_logit']:.4g} apart on average, {side['largest_logit']:.4g} at most"
        )
    if len(result.get("parity", ())) > 1:
        print(f"      closer to the trained adapter: --reference {result['recommended']}")
    if "merge_peak_gib" in result:
        info(f"merged with {result['merge_peak_gib']:.2f} GiB of host memory at most")
    if result.get("measured") is False:
        print("NOT MEASURED: nobody has compared the merged model with the adapter (--samples 0)")
    if result["passed"]:
        info(f"done    {result['out']}")
        if (Path(result["out"]) / "example.py").is_file():
            info(f"next    python {result['out']}/example.py IMAGE QUESTION   (its first lines say more)")
    elif result["out"]:
        info(f"kept aside, since it did not pass: {result['out']}")
