"""`lowmed compare`: parse options, compare, print."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import options

First = Annotated[Path, typer.Argument(metavar="A", help="Run, evaluation, its .jsonl file, or scored directory.")]
Second = Annotated[Path, typer.Argument(metavar="B", help="The same; differences are B minus A.")]
Strict = Annotated[bool, typer.Option("--strict", help="Count only answers in exactly one tag.")]
Different = Annotated[
    bool, typer.Option("--allow-different", help="Compare the shared questions even if settings differ.")
]


def compare(
    first: First,
    second: Second,
    strict: Strict = False,
    allow_different: Different = False,
    full: options.Full = False,
    as_json: options.Json = False,
) -> None:
    """Test whether two evaluations differ.

    \b
    lowmed compare runs/a runs/b                                           all sources that both were evaluated on
    lowmed compare runs/a/evals/phantom/base.jsonl runs/a/evals/phantom    what training changed
    lowmed compare scored-zero-shot scored-tuned                           two directories of `lowmed score --out`

    Prints the paired difference with its interval and a sign-flip test over images; --full adds strata, McNemar's test,
    and examples that changed. `lowmed report A B` writes the same as a page. Different data, prompts, image budget or
    answer rules are an error that names them. If the same judge scored both (`lowmed eval --judge-url`), its scores of
    the open questions are compared too.
    """
    from lowmed.api import compare as api

    comparison = api.compare(first, second, strict=strict, allow_different=allow_different)
    if as_json:
        print(json.dumps(comparison.as_json(), indent=2))
        return
    from lowmed.report import compare_table

    (compare_table.show if full else compare_table.show_summary)(comparison)
