"""Write the report of a run or of several, as `lowmed report` does."""

from collections.abc import Sequence
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


def report_runs(runs: Sequence[str | PathLike[str]], *, out: str | PathLike[str] | None = None) -> Path:
    """Write one page about several runs: accuracies side by side, and paired differences from the first run.

    Args:
        runs: two run directories or more.
        out: file of the page; default: comparison.html in the directory of the first run's directory.

    Returns:
        The page.

    Raises:
        LowmedError: as `report`; runs that cannot be compared are named on the page.
    """
    from lowmed.errors import LowmedError
    from lowmed.evaluation.compare import compare
    from lowmed.evaluation.compare_inputs import load_systems
    from lowmed.files import disk_errors, require_own, write_text
    from lowmed.report import comparison_page, run_report
    from lowmed.run import open_run

    opened = [open_run(fspath(run)) for run in runs]
    file = Path(out) if out else opened[0].folder.parent / "comparison.html"
    require_own(file, "- lowmed report</title>")
    names = _names([run.folder for run in opened])
    contents = {name: run_report.read(run) for name, run in zip(names, opened, strict=True)}
    comparisons, refused = {}, {}
    for name, run in list(zip(names, opened, strict=True))[1:]:
        try:
            comparisons[name] = compare(load_systems(opened[0].folder), load_systems(run.folder))
        except LowmedError as error:
            refused[name] = error.what
    html = comparison_page.render(comparison_page.ComparedRuns(contents, comparisons, refused))
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, html)
    return file


def _names(folders: Sequence[Path]) -> list[str]:
    """A different name for each run: that of its directory, with those above it where needed."""
    resolved = [folder.resolve() for folder in folders]
    depth = 1
    while len({folder.parts[-depth:] for folder in resolved}) < len(set(resolved)):
        depth += 1
    names = ["/".join(folder.parts[-depth:]) for folder in resolved]
    return [name if names.index(name) == at else f"{name} ({at + 1})" for at, name in enumerate(names)]


def _openers(recipe: "Recipe", path: str | None, with_images: bool) -> "dict[str, OpenImage]":
    """Data source -> function that opens its images: generated ones always, the run's data only on request."""
    from lowmed.data.load import load_data
    from lowmed.data.sources.generated import GENERATORS

    spec = recipe.data
    result: dict[str, OpenImage] = {name: generator.open_image for name, generator in GENERATORS.items()}
    if spec.sources:  # images of merged data sets have other references
        result = {name: opener for name, opener in result.items() if name not in spec.names}
    if with_images and spec.name not in result:
        dataset = load_data(spec, path, max_image_tokens=recipe.model.max_image_tokens)
        result |= dict.fromkeys((spec.name, *spec.names), dataset.open_image)
    return result
