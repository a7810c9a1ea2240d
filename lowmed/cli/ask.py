"""`lowmed ask`: one question about one's own images."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from lowmed.cli import options
from lowmed.cli.progress import info

Target = Annotated[str, typer.Argument(metavar="MODEL_OR_RUN", help="A run, a merged folder, `nano`, or a hub id.")]
Rest = Annotated[
    list[str], typer.Argument(metavar='[IMAGE]... "QUESTION"', help="Pictures or DICOM files, then the question.")
]
Samples = Annotated[
    int, typer.Option("--samples", min=0, max=64, help="Also so many sampled replies: how stable is it?")
]
Prompt = Annotated[str | None, typer.Option("--prompt", help="Prompt family; default: the one that the run asks with.")]


def ask(target: Target, rest: Rest, samples: Samples = 0, prompt: Prompt = None, as_json: options.Json = False) -> None:
    """Ask a model about images of your own: its reasoning, its answer, and how stable that is.

    \b
    lowmed ask runs/20260101-rarl chest.png "Is there a pleural effusion?"
    lowmed ask rarl-merged before.dcm after.dcm "What has changed?" --samples 8

    Research only: this is not a diagnostic device. Nothing is stored, and nothing leaves this machine.
    """
    from lowmed import prompt as prompts
    from lowmed.data.image.policy import PixelPolicy
    from lowmed.evaluate.target import open_target
    from lowmed.ship import ask

    *images, question = rest
    who = open_target(target)
    family = prompts.family(prompt) if prompt else who.family
    asked = ask.sample(question, images)
    open_image = ask.opened(images, PixelPolicy(who.model.max_image_tokens))
    from lowmed.engine import evaluator

    adapter = who.adapters.get("tuned")
    who = replace(who, family=family)
    answerer = evaluator.answerer(who.model, adapter, who.family, who.eval.max_new_tokens)
    result = {"model": target, **ask.ask(answerer, asked, who.family, open_image, samples)}
    if as_json:
        print(json.dumps(result, indent=2))
        return
    show(result)


def show(result: Mapping[str, Any]) -> None:
    """Print reasoning, answer, and votes."""
    from lowmed.report.eval_table import NOTICE

    if result["reasoning"]:
        print(f"reasoning  {result['reasoning']}")
    if result["answer"] is None:
        print(f"unread     {', '.join(result['flags'])}\nreply      {result['reply']}")
    else:
        print(f"answer     {result['answer']}")
    if "samples" in result:
        drawn = result["samples"]
        print(f"\n{drawn['drawn']} replies at temperature {drawn['temperature']:g}")
        for vote in drawn["votes"]:
            print(f"  {vote['share']:4.0%}  {vote['answer']}")
        if drawn["unread"]:
            print(f"  {drawn['unread'] / drawn['drawn']:4.0%}  unread")
    info(NOTICE)
