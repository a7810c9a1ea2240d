"""Write the report of a run, as `lowmed report` does."""

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowmed.evaluation.answerer import OpenImage
    from lowmed.recipe import Recipe
    from lowmed.report.run_report import RunReport


@dataclass(frozen=True)
class WrittenReport:
    """The content of a report, and the files that were written."""

    content: "RunReport"
    page: Path
    model_card: Path | None


def report(
    run: str | PathLike[str],
    *,
    out: str | PathLike[str] | None = None,
    with_images: bool = False,
    path: str | None = None,
) -> WrittenReport:
    """Write report.html, and README.md (the model card) into the adapter's directory.

    Args:
        run: run directory.
        out: file of the page; default: report.html in the run.
        with_images: embed the images of the cases, which may be patients' images.
        path: local copy of the data, if it has moved.

    Raises:
        LowmedError: the run does not exist, an evaluation lacks completions, the disk is not writable, or `out` is
            something that lowmed did not write.
    """
    from lowmed.files import disk_errors, require_own, write_text
    from lowmed.report import card, page, run_data, run_report
    from lowmed.run import open_run

    opened = open_run(fspath(run))
    file = Path(out) if out else opened.folder / "report.html"
    require_own(file, "- lowmed report</title>")
    model_card = opened.adapter / "README.md" if opened.adapter.is_dir() and not opened.adapter.is_symlink() else None
    if model_card:
        require_own(model_card, "- lowmed\n")
    content = run_report.read(opened)
    html = page.render(content, _openers(content.recipe, path, with_images), run_data.data_summary(opened, path))
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, html)
    if model_card:
        write_text(model_card, card.render(content))
    return WrittenReport(content, file, model_card)


def _openers(recipe: "Recipe", path: str | None, with_images: bool) -> "dict[str, OpenImage]":
    """Data source -> function that opens its images: generated ones always, the run's data only on request."""
    from lowmed.data.load import load_data
    from lowmed.data.sources import phantom as generated
    from lowmed.nano import phantom

    spec = recipe.data
    result: dict[str, OpenImage] = dict.fromkeys(generated.TASKS, phantom.open_image)
    if spec.sources:  # images of merged data sets have other references
        result = {name: opener for name, opener in result.items() if name not in spec.names}
    if with_images and spec.name not in result:
        dataset = load_data(spec, path, max_image_tokens=recipe.model.max_image_tokens)
        result |= dict.fromkeys((spec.name, *spec.names), dataset.open_image)
    return result
