"""`lowmed export`: convert a run to the format of another program, or upload it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import options
from lowmed.cli.merge import QUESTIONS, Base, On, PathTo, Questions, Reference, show_checks, show_merge
from lowmed.cli.progress import info, progress
from lowmed.ship.export import TARGETS
from lowmed.ship.records import MergeReport

Source = Annotated[
    str, typer.Argument(metavar="RUN|FOLDER", help="A finished run, or a folder that was exported before.")
]
To = Annotated[str, typer.Option("--to", metavar="TARGET", help=f"One of {', '.join(TARGETS)}.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to create.")]
Repository = Annotated[str | None, typer.Option("--repo", help="hub: OWNER/NAME.")]
Yes = Annotated[bool, typer.Option("--yes", help="hub: upload; without it, files are only listed.")]
Public = Annotated[bool, typer.Option("--public", help="hub: make the repository public; the default is private.")]
Reviewed = Annotated[
    list[str] | None, typer.Option("--reviewed", help="hub: a file that you have checked for patient data.")
]


def export(
    source: Source,
    to: To,
    out: Out = None,
    reference: Reference = None,
    questions: Questions = QUESTIONS,
    on: On = None,
    path: PathTo = None,
    base: Base = None,
    repo: Repository = None,
    yes: Yes = False,
    public: Public = False,
    reviewed: Reviewed = None,
    as_json: options.Json = False,
) -> None:
    """Export a run for another program, or to the hub.

    \b
    lowmed export runs/20260101-rarl --to vllm --out served        merged folder, adapter, and both serve commands
    lowmed export runs/20260101-rarl --to gguf --out gguf          GGUF files for llama.cpp
    lowmed export rarl-merged --to ollama --out ollama             from a folder that is merged already
    lowmed export runs/20260101-rarl --to hub --repo me/rarl --out upload     lists what would be uploaded
    lowmed export upload --to hub --repo me/rarl --yes             uploads it to a private repository

    Merged weights are compared with the adapter first; if they disagree, the exit code is 1.
    """
    from lowmed.api import export as api

    report = api.export(
        source,
        to,
        out,
        reference=reference,
        questions=questions,
        on=on,
        path=path,
        base=base,
        repository=repo,
        upload=yes,
        public=public,
        reviewed=reviewed or (),
        progress=progress,
        log=info,
    )
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        if isinstance(report.checks, MergeReport):
            show_merge(report.checks)
        elif report.checks:
            show_checks(report.checks)
        if report.passed:
            info(f"done    {report.url or report.out}")
        if report.instructions:
            print(f"\n{report.instructions}")
    if not report.passed:
        raise typer.Exit(1)
