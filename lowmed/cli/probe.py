"""`lowmed probe`: is RL worth it, SFT first, or neither; before a GPU is paid for."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import info, progress

Target = Annotated[str, typer.Argument(metavar="RUN_OR_MODEL", help="A run, `nano`, a hub id or a model folder.")]
On = Annotated[str | None, typer.Option("--on", help="Data source whose training questions are probed.")]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of the source.")]
Questions = Annotated[int, typer.Option("--questions", min=1, help="The first so many training questions.")]
Samples = Annotated[int, typer.Option("--samples", min=2, max=64, help="Replies per question, with and without image.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.01, help="Of the sampled replies.")]
Support = Annotated[
    float | None, typer.Option("--support", min=0, max=1, help="Share of questions to be supported; default 0.25.")
]
Out = Annotated[str | None, typer.Option("--out", help="Folder for replies, probe.json and difficulty.jsonl.")]


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
    """Decide before RL is paid for: can the model already reach right answers, by looking, in several tries?

    \b
    lowmed probe nano --on phantom
    lowmed probe Qwen/Qwen2-VL-2B-Instruct --on vqa-rad --path ~/vqa-rad --questions 500
    lowmed probe runs/20260101-rarl-sft                        an SFT run, on the questions it was trained on

    Asks training questions, so that no test question decides anything. A question counts as supported where more of its
    completions are right than guessing and the model without the image explain. difficulty.jsonl holds the pass counts.
    Ends with 0 where the verdict is RL, with 1 where it is not.
    """
    from lowmed.engine import evaluator
    from lowmed.evaluate.target import open_target, split_to_probe
    from lowmed.run import FOLDER

    who = open_target(target)
    data_split, seen = split_to_probe(who, on, path, questions, progress)
    default = who.run.folder / "probes" if who.run else Path(FOLDER)
    name = data_split.source if who.run else f"probe-{Path(target).name}-{data_split.source}"
    folder = Path(out) if out else default / name
    result = evaluator.probe(
        who,
        data_split,
        seen,
        folder,
        samples=samples,
        temperature=temperature,
        support=support,
        progress=progress,
    )
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        from lowmed.report import probe_table

        probe_table.show(result)
        info(f"\nprobe.json and difficulty.jsonl  {folder}")
    raise typer.Exit(0 if result["all"]["verdict"] == "RL" else 1)
