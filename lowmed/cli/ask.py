"""`lowmed ask`: one question about a user's images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import info

if TYPE_CHECKING:
    from lowmed.ship.records import AskResult

Target = Annotated[
    str, typer.Argument(metavar="RUN_OR_MODEL", help="A run, a model or adapter folder, `nano`, or a hub id.")
]
ImagesAndQuestion = Annotated[
    list[str], typer.Argument(metavar='[IMAGE]... "QUESTION"', help="Image or DICOM files, then the question.")
]
Samples = Annotated[
    int, typer.Option("--samples", min=0, max=64, help="Also sample this many completions and count their answers.")
]
Prompt = Annotated[str | None, typer.Option("--prompt", help="Prompt family; the default is the run's.")]


Draw = Annotated[
    Path | None, typer.Option("--draw", help="Write the first image with the answer's boxes to this new PNG file.")
]


def ask(
    target: Target,
    images_and_question: ImagesAndQuestion,
    samples: Samples = 0,
    prompt: Prompt = None,
    draw: Draw = None,
    as_json: options.Json = False,
) -> None:
    """Ask a model about your own images.

    \b
    lowmed ask runs/20260101-rarl chest.png "Is there a pleural effusion?"
    lowmed ask rarl-merged before.dcm after.dcm "What has changed?" --samples 8
    lowmed ask runs/20260101-ground chest.png "Where is the heart?" --draw heart.png

    Prints reasoning and answer; with --samples also how often each answer was sampled.
    Research only: this is not a diagnostic device. Only --draw stores a file, and nothing leaves this machine.
    """
    from lowmed.api import ask as api

    *images, question = images_and_question
    result = api.ask(target, images, question, samples=samples, prompt=prompt, draw=draw)
    if as_json:
        print(json.dumps(result.as_json(), indent=2))
    else:
        show(result)


def show(result: "AskResult") -> None:
    """Print reasoning, answer, and the sampled answers."""
    from lowmed.report.console import NOTICE

    if result.reasoning:
        print(f"reasoning   {result.reasoning}")
    if result.answer is None:
        print(f"unread      {', '.join(result.flags)}\ncompletion  {result.completion}")
    else:
        print(f"answer      {result.answer}")
    if result.samples:
        drawn = result.samples.drawn
        print(f"\n{drawn} completions sampled at temperature {result.samples.temperature:g}")
        for vote in result.samples.votes:
            print(f"  {vote.share:4.0%}  {vote.answer}")
        if result.samples.unread:
            print(f"  {result.samples.unread / drawn:4.0%}  unread")
    info(NOTICE)
