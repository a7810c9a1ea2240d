"""`lowmed verify`: check an adapter, and optionally a merged model against it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import options
from lowmed.cli.merge import Base, On, PathTo, show_checks
from lowmed.cli.progress import info
from lowmed.ship.records import REWARD_CODE

Target = Annotated[
    str, typer.Argument(metavar="RUN|ADAPTER", help="A finished run, or a folder with adapter_config.json.")
]
Against = Annotated[Path | None, typer.Option("--against", help="Merged folder that should give the same answers.")]
Questions = Annotated[int, typer.Option("--questions", min=1, help="Number of questions to answer.")]


def verify(
    target: Target,
    against: Against = None,
    questions: Questions = 16,
    on: On = None,
    path: PathTo = None,
    base: Base = None,
    as_json: options.Json = False,
) -> None:
    """Check an adapter, and a merged model against it.

    \b
    lowmed verify runs/20260101-rarl
    lowmed verify runs/20260101-rarl --against rarl-merged
    lowmed verify some/adapter --base ~/Qwen2-VL-2B-Instruct --on vqa-rad --path ~/vqa-rad

    Checks keys and values of the weights, the effect on the base, and that PEFT without lowmed gives the same tokens.
    An adapter folder answers questions of the embedded phantom unless --on names others. If a check fails, the exit
    code is 1.
    """
    from lowmed.api import verify as api

    report = api.verify(target, against=against, questions=questions, on=on, path=path, base=base)
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        show_checks(report)
        failed = [check.name for check in report.checks if not check.passed]
        if failed == [REWARD_CODE]:
            info("the adapter passed every check, but the code of its rewards has changed since it was trained")
        else:
            info("do not use this adapter: a check failed" if failed else "the adapter passed every check")
    if not report.passed:
        raise typer.Exit(1)
