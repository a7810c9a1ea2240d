"""`lowmed inspect`: what somebody sent, before another command reads it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import options


def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A run, adapter, model, data folder or recipe.")],
    as_json: options.Json = False,
) -> None:
    """List code, pickles, links and foreign paths in received files.

    Nothing is executed, and no weights are loaded. Exit code 1 if something needs attention.

    \b
    lowmed inspect received-adapter/
    lowmed inspect recipe.yaml --json
    """
    from lowmed.api.inspect import inspect as run

    result = run(path)
    if as_json:
        print(json.dumps(result.as_json(), indent=2, ensure_ascii=False))
    else:
        print(f"{result.path}: {result.kind}, {result.files:,} files, {result.bytes / 2**20:,.1f} MiB")
        print(f"  base      {', '.join(result.bases) or 'not named'}")
        print(f"  license   {', '.join(result.licenses) or 'not stated'}")
        for finding in result.findings:
            more = f", and {finding.count - len(finding.first):,} more" if finding.count > len(finding.first) else ""
            print(f"  look at   {finding.count:,} {finding.what}: {', '.join(finding.first)}{more}")
        print("something needs attention" if result.findings else "nothing needs attention")
    if result.findings:
        raise typer.Exit(1)
