"""`lowmed probe`: parse options, probe, print."""

import json
from typing import Annotated

import typer

from lowmed.cli import launch, options
from lowmed.cli.progress import info, progress
from lowmed.errors import RecipeError

Target = Annotated[
    str | None, typer.Argument(metavar="RUN_OR_MODEL", help="A run, `nano`, a hub id or a model directory.")
]
On = Annotated[str | None, typer.Option("--on", help="Data source; default: the run's training data.")]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of the source; NAME=FOLDER,... of several.")]
Questions = Annotated[
    int | None,
    typer.Option("--questions", min=1, help="Number of training questions, the first ones; default 200, or 2000."),
]
Vision = Annotated[
    bool, typer.Option("--vision", help="Classify images by the vision tower's features; sample nothing.")
]
Samples = Annotated[
    int, typer.Option("--samples", min=2, max=64, help="Completions sampled per question, with and without image.")
]
Temperature = Annotated[float, typer.Option("--temperature", min=0.01, help="Sampling temperature.")]
Support = Annotated[
    float | None, typer.Option("--support", min=0, max=1, help="Support required for RL; default 0.25.")
]
Out = Annotated[str | None, typer.Option("--out", help="Directory of the results.")]
QUESTIONS = 200
SAMPLING = ("samples", "temperature", "support", "endpoint", "model", "max_concurrency")  # options of the completions


def probe(
    context: typer.Context,
    target: Target = None,
    on: On = None,
    path: PathTo = None,
    questions: Questions = None,
    samples: Samples = 16,
    temperature: Temperature = 1.0,
    support: Support = None,
    vision: Vision = False,
    endpoint: options.Endpoint = None,
    model: options.ServedAs = None,
    max_concurrency: options.MaxConcurrency = 16,
    out: Out = None,
    processes: launch.Processes = 1,
    as_json: options.Json = False,
) -> None:
    """Check whether RL can help before training.

    \b
    lowmed probe nano --on phantom
    lowmed probe Qwen/Qwen2-VL-2B-Instruct --on vqa-rad --path ~/vqa-rad --questions 500
    lowmed probe runs/20260101-rarl-sft                        an SFT run, on its own training questions
    lowmed probe --endpoint http://127.0.0.1:8000/v1 --model qwen --on vqa-rad --path ~/vqa-rad
    lowmed probe nano --on phantom --vision                    what the vision tower sees, without any prompt

    Uses training questions only, so that no test question influences the decision. A question is supported if more of
    its completions are correct than guessing and the same model without the image explain. difficulty.jsonl holds the
    pass counts. Exit code 0 if the verdict is RL, 1 otherwise.

    With --vision, classifiers of the frozen tower's features and of small gray images answer each question that recurs.
    """
    if not vision:
        launch.share_work(processes)
    if vision:
        _probe_vision(context, target, on, path, questions, out, as_json)
        return
    from lowmed.api import probe as api

    report = api.probe(
        target,
        on=on,
        path=path,
        questions=questions or QUESTIONS,
        samples=samples,
        temperature=temperature,
        support=support,
        endpoint=endpoint,
        model=model,
        max_concurrency=max_concurrency,
        out=out,
        progress=progress,
    )
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        from lowmed.report import probe_table

        probe_table.show(report)
        info(f"\nprobe.json and difficulty.jsonl  {report.folder}")
    raise typer.Exit(0 if report.all.verdict == "RL" else 1)


def _probe_vision(
    context: typer.Context,
    target: str | None,
    on: str | None,
    path: str | None,
    questions: int | None,
    out: str | None,
    as_json: bool,
) -> None:
    from lowmed.api import probe_vision as api
    from lowmed.report import vision_table

    sources = {name: context.get_parameter_source(name) for name in SAMPLING}
    given = [f"--{name.replace('_', '-')}" for name, source in sources.items() if source and source.name != "DEFAULT"]
    if given:
        raise RecipeError(
            f"{given[0]} belongs to sampled completions, and --vision samples none", given[0], f"remove {given[0]}"
        )
    if target is None:
        raise RecipeError("no model to probe", "RUN_OR_MODEL", "name a run directory, a model, or `nano`")
    report = api.probe_vision(
        target, on=on, path=path, questions=questions or api.QUESTIONS, out=out, progress=progress
    )
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        vision_table.show(report)
        if out:
            info(f"\nvision.json  {out}")
