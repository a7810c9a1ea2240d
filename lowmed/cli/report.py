"""`lowmed report`: parse options, write the report, print its files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import info
from lowmed.errors import RunError

RunFolders = Annotated[list[str], typer.Argument(metavar="RUN...", help="A run directory, or several to compare.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="File of the page; default: report.html in the run, comparison.html next to the runs."),
]
WithImages = Annotated[
    bool, typer.Option("--with-images", help="Embed the images of the cases, which may be patients' images.")
]
PathTo = Annotated[
    str | None, typer.Option("--path", help="Local copy of the data, if moved; NAME=FOLDER,... of several.")
]


def report(
    runs: RunFolders,
    out: Out = None,
    with_images: WithImages = False,
    path: PathTo = None,
    as_json: options.Json = False,
) -> None:
    """Write the HTML report of a run, or a page that compares several.

    \b
    lowmed report runs/20260101-rarl-nano
    lowmed report runs/20260101-rarl --with-images --path ~/vqa-rad
    lowmed report runs/a runs/b runs/c --out comparison.html     each run against the first one

    The page is one file that needs no network. It embeds images only with --with-images; generated images (phantom)
    are always embedded. The model card is README.md in the adapter's directory.
    """
    from lowmed.api import report as api

    if len(runs) > 1:
        if with_images or path:
            raise RunError(
                "a page of several runs shows no images and reads no data",
                "--with-images" if with_images else "--path",
                "leave it out, or name one run",
            )
        page = api.report_runs(runs, out=out)
        print(json.dumps({"report": str(page)}, indent=2)) if as_json else info(f"report      {page}")
        return
    written = api.report(runs[0], out=out, with_images=with_images, path=path)
    files = {"report": str(written.page)}
    if written.model_card:
        files["model_card"] = str(written.model_card)
    if as_json:
        evaluations = [evaluation.as_json() for evaluation in written.content.evaluations.values()]
        print(json.dumps({**files, "run": written.content.run.as_json(), "evaluations": evaluations}, indent=2))
        return
    for name, file in files.items():
        info(f"{name.replace('_', ' '):<11} {file}")
