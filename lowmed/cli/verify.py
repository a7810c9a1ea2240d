"""`lowmed verify`: does an adapter do what training made it do, here, in plain peft, and in a merged model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options
from lowmed.cli.merge import Base, On, PathTo
from lowmed.cli.progress import info

if TYPE_CHECKING:
    from lowmed.evaluate.target import EvalTarget

Target = Annotated[
    str, typer.Argument(metavar="RUN|ADAPTER", help="A finished run, or a folder with adapter_config.json.")
]
Against = Annotated[Path | None, typer.Option("--against", help="A merged folder that should answer alike.")]
Samples = Annotated[int, typer.Option("--samples", min=1, help="Questions that are asked.")]


def verify(
    target: Target,
    against: Against = None,
    samples: Samples = 16,
    on: On = None,
    path: PathTo = None,
    base: Base = None,
    as_json: options.Json = False,
) -> None:
    """Check an adapter: keys, numbers, effect on the base, plain peft, and a merged model against it.

    \b
    lowmed verify runs/20260101-rarl
    lowmed verify runs/20260101-rarl --against rarl-merged
    lowmed verify some/adapter --base ~/Qwen2-VL-2B-Instruct --on vqa-rad --path ~/vqa-rad

    Exit 1 where a check fails. A bare adapter is asked questions of the embedded phantom unless --on names others.
    """
    from dataclasses import asdict

    from lowmed.engine import device

    device.silence_libraries()
    from lowmed.ship import adapter as adapters
    from lowmed.ship import base_model as bases
    from lowmed.ship import merge, merge_job
    from lowmed.ship import verify as checking

    adapter = adapters.read(target)
    who = _who(target, adapter.config.get("base_model_name_or_path"), base)
    folder = bases.find_base(who.model)
    if who.run:
        bases.check_unchanged(folder, who.run.record.base_commit)
    tensors = bases.tensors(folder)
    checks = checking.files(adapter, tensors)
    result = {}
    if all(check.passed for check in checks):
        asked = merge_job.questions(who, on or (None if who.run else "phantom"), path, samples)
        if against:
            work = merge.MergeWork(folder, tensors, adapter, adapters.targets(adapter, tensors), "original")
            checks.append(checking.survives(merge.held(work, against), "merged"))
        more, spoken = checking.adapter(who.model, folder, adapter.folder, asked)
        checks += more
        if against:
            [side] = checking.parity(who.model, against, asked, spoken)
            checks.append(checking.alike(side))
            result = {"parity": asdict(side)}
    document = checking.document(checks, **result)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        for check in checks:
            print(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.told}")
        info("the adapter is sound" if document["passed"] else "the adapter must not be used as it is")
    if not document["passed"]:
        raise typer.Exit(1)


def _who(target: str, trained_on: object, base: str | None) -> "EvalTarget":
    from dataclasses import replace

    from lowmed import prompt
    from lowmed.errors import RunError
    from lowmed.evaluate.target import EvalTarget, open_target
    from lowmed.recipe import EvalSpec, ModelSpec, PromptSpec

    if (Path(target) / "run.json").is_file():
        who = open_target(target)
        return replace(who, model=who.model.model_copy(update={"name": base, "revision": None})) if base else who
    name = base or trained_on
    if not isinstance(name, str):
        raise RunError("the adapter does not say what its base is", target, "name it with --base")
    return EvalTarget(ModelSpec(name=name), prompt.family(PromptSpec().infer), EvalSpec(), None, {})
