"""`lowmed plan`: estimate memory and time of a run."""

import json
from typing import Annotated

import typer

from lowmed.cli import options

Gpu = Annotated[str | None, typer.Option("--gpu", help="A GPU: T4, L4, 3090, A100-40, H100, ...")]
Gib = Annotated[float | None, typer.Option("--gib", min=0.1, max=1e4, help="Memory in GiB of a GPU not in the list.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Run three steps here to calibrate the estimate.")]


def plan(
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    gpu: Gpu = None,
    gib: Gib = None,
    nano: options.Nano = False,
    processes: options.Processes = 1,
    dry_run: DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Estimate memory and time of a run.

    Nothing is downloaded. Exits with 1 if the run does not fit the GPU or cannot run on it.

    \b
    lowmed plan --recipe rarl                                  the GPU present, else all known GPUs
    lowmed plan --recipe rarl --gpu T4                         peak by phase, verdict, ways to save memory
    lowmed plan --recipe rarl --gib 12 model.load_in=16bit
    lowmed plan --recipe rarl --gpu L4 --processes 4 model.name=Qwen/Qwen2.5-VL-32B-Instruct model.shard=fsdp
    lowmed plan --recipe rarl --dry-run model.name=<folder with config.json> model.weights=random
    """
    from lowmed.api.plan import dry_run_recipe, estimate_recipe
    from lowmed.plan.dry_run_lines import dry_run_lines
    from lowmed.plan.formatting import as_document, full_lines, header_lines, short_lines

    name = options.require_recipe(recipe_name)
    if dry_run:
        run, path = dry_run_recipe(name, overrides or [], gpu=gpu, gib=gib, nano=nano, processes=processes)
        if as_json:
            print(run.model_dump_json(indent=2))
        else:
            print("\n".join([*dry_run_lines(run), f"stored   {path}; estimates for {run.card_name} now use it"]))
        return
    result = estimate_recipe(name, overrides or [], gpu=gpu, gib=gib, nano=nano, processes=processes)
    if as_json:
        print(json.dumps({"recipe": name, "cards": [as_document(estimate) for estimate in result.estimates]}, indent=2))
    else:
        first = result.estimates[0]
        details = full_lines(first) if result.one_card else short_lines(result.estimates)
        print("\n".join([f"recipe   {name}: {result.recipe.about}", *header_lines(first), *details]))
    if result.one_card and result.estimates[0].verdict in ("does not fit", "needs bf16"):
        raise typer.Exit(1)
