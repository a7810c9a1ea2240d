"""`lowmed probe`: parse options, probe, print."""

import json
from typing import Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import info, progress

Target = Annotated[str, typer.Argument(metavar="RUN_OR_MODEL", help="A run, `nano`, a hub id or a model directory.")]
On = Annotated[str | None, typer.Option("--on", help="Data source; default: the run's training data.")]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of the source; NAME=FOLDER,... of several.")]
Questions = Annotated[
    int, typer.Option("--questions", min=1, help="Number of training questions; takes the first ones.")
]
Samples = Annotated[
    int, typer.Option("--samples", min=2, max=64, help="Completions sampled per question, with and without image.")
]
Temperature = Annotated[float, typer.Option("--temperature", min=0.01, help="Sampling temperature.")]
Support = Annotated[
    float | None, typer.Option("--support", min=0, max=1, help="Support required for RL; default 0.25.")
]
Out = Annotated[str | None, typer.Option("--out", help="Directory for completions, probe.json, difficulty.jsonl.")]


def probe(
    target: Target,
    on: On = None,
    path: PathTo = None,
    questions: Questions = 200,
    samples: Samples = 16,
    temperature: Temperature = 1.0,
    support: Support = None,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Check whether RL can help before training.

    \b
    lowmed probe nano --on phantom
    lowmed probe Qwen/Qwen2-VL-2B-Instruct --on vqa-rad --path ~/vqa-rad --questions 500
    lowmed probe runs/20260101-rarl-sft                        an SFT run, on its own training questions

    Uses training questions only, so that no test question influences the decision. A question is supported if more of
    its completions are correct than guessing and the same model without the image explain. difficulty.jsonl holds the
    pass counts. Exit code 0 if the verdict is RL, 1 otherwise.
    """
    from lowmed.api import probe as api

    report = api.probe(
        target,
        on=on,
        path=path,
        questions=questions,
        samples=samples,
        temperature=temperature,
        support=support,
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
