"""`lowmed compare`: two evaluations of the same questions, and whether they differ."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import options

First = Annotated[Path, typer.Argument(metavar="A", help="Run, evaluation folder, replies in it, or scored folder.")]
Second = Annotated[Path, typer.Argument(metavar="B", help="The same; what is gained or lost is B minus A.")]
Strict = Annotated[bool, typer.Option("--strict", help="Count only answers in one tag.")]
Different = Annotated[
    bool, typer.Option("--allow-different", help="Compare what both were asked, and say what differs.")
]


def compare(
    first: First,
    second: Second,
    strict: Strict = False,
    allow_different: Different = False,
    as_json: options.Json = False,
) -> None:
    """Set two evaluations of the same questions against each other: paired interval, exact test, what changed.

    \b
    lowmed compare runs/a runs/b                                           all sources that both were evaluated on
    lowmed compare runs/a/evals/phantom/base.jsonl runs/a/evals/phantom    what training changed
    lowmed compare scored-zero-shot scored-tuned                           two folders of `lowmed score --out`

    Different data, prompts, pixel policy or reading rules are refused; the message names them. Where both hold verdicts
    of one judge by one rubric (`lowmed eval --judge-url`), its scores of the open questions are compared too.
    """
    from lowmed.evaluate import compare as comparing
    from lowmed.evaluate.compare_inputs import load_systems

    result = comparing.compare(
        load_systems(first), load_systems(second), strict=strict, allow_different=allow_different
    )
    if as_json:
        print(json.dumps(result, indent=2))
        return
    from lowmed.report import compare_table

    compare_table.show(result)
