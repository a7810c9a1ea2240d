"""`lowmed report`: a run as one HTML page, and the model card of its adapter."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import info

if TYPE_CHECKING:
    from lowmed.evaluate.answerer import OpenImage
    from lowmed.recipe import Recipe

RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]
Out = Annotated[Path | None, typer.Option("--out", help="Where the page goes; default report.html in the run.")]
WithImages = Annotated[
    bool, typer.Option("--with-images", help="Embed the pictures of the cases. They may be patients'.")
]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of the data, where it has moved.")]


def report(
    run: RunFolder,
    out: Out = None,
    with_images: WithImages = False,
    path: PathTo = None,
    as_json: options.Json = False,
) -> None:
    """Write report.html, which needs no network, and the adapter's model card, README.md.

    \b
    lowmed report runs/20260101-rarl-nano
    lowmed report runs/20260101-rarl --with-images --path ~/vqa-rad

    Images stay where they are; only --with-images puts them into the page (phantom's, which show nobody, are always).
    """
    from lowmed.files import disk_errors, write_text
    from lowmed.report import card, page, run_data
    from lowmed.report import record as records
    from lowmed.run import open_run

    folder = open_run(run)
    record = records.read(folder)
    html = page.render(record, _pictures(record.recipe, path, with_images), run_data.data_summary(folder, path))
    file = out or folder.folder / "report.html"
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, html)
    written = {"report": str(file)}
    if folder.adapter.is_dir():
        write_text(folder.adapter / "README.md", card.render(record))
        written["model_card"] = str(folder.adapter / "README.md")
    if as_json:
        print(json.dumps({**written, "run": record.run, "evaluations": list(record.evaluations.values())}, indent=2))
        return
    for what, where in written.items():
        info(f"{what.replace('_', ' '):<11} {where}")


def _pictures(recipe: "Recipe", path: str | None, with_images: bool) -> "dict[str, OpenImage]":
    """How images are opened, by source: phantom's always, those of the run's data where that was asked for."""
    from lowmed.data.load import load
    from lowmed.nano import phantom

    result: dict[str, OpenImage] = {"phantom": phantom.picture}
    if with_images and recipe.data.source not in result:
        tokens = recipe.model.max_image_tokens
        dataset = load(recipe.data.source, path or recipe.data.path, max_image_tokens=tokens)
        result[recipe.data.source] = dataset.open_image
    return result
