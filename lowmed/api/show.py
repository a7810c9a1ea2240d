"""Show a run's report and the samples of a data set in a notebook."""

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.display import HTML

    from lowmed.recipe import Recipe

HEIGHT = 720  # of the report, in CSS pixels


def show_report(
    run: str | PathLike[str], *, with_images: bool = False, path: str | None = None, height: int = HEIGHT
) -> "HTML":
    """Write the report of a run, as `lowmed report` does, and show it as the output of the cell.

    The page becomes part of the notebook: no file is served, so that it shows in Jupyter, VS Code, Colab and Kaggle.

    Args:
        run: the run or its directory.
        with_images: embed the images of the cases, which may be patients' images.
        path: local copy of the data, if it has moved.
        height: height of the frame in CSS pixels.

    Raises:
        LowmedError: the run does not exist, an evaluation lacks completions, the disk is not writable, or IPython is
            not installed.
    """
    display = _html()
    from lowmed.api.report import report
    from lowmed.report import in_notebook

    written = report(run, with_images=with_images, path=path)
    return display(in_notebook.frame(written.page.read_text(encoding="utf-8"), height))


def show_curves(run: str | PathLike[str], *, height: int = HEIGHT) -> "HTML":
    """Show the curves of a run's training as the output of the cell; a run may still be training.

    Args:
        run: the run or its directory.
        height: height of the frame in CSS pixels.

    Raises:
        LowmedError: the run does not exist, or IPython is not installed.
    """
    display = _html()
    from lowmed.report import in_notebook, run_report
    from lowmed.report.page import curves
    from lowmed.run import open_run

    opened = open_run(fspath(run))
    metrics, dev = run_report.curves_of(opened)
    return display(in_notebook.frame(curves(opened.record.name, metrics, dev), height))


def show_samples(
    data: "str | PathLike[str] | Recipe",
    count: int = 8,
    *,
    path: str | None = None,
    split: str | None = None,
    seed: int = 0,
) -> "HTML":
    """Show some samples of a data set as the output of the cell: images, question, options, gold answer, explanation.

    The images become part of the notebook: clear its outputs before you share a notebook with patients' images.

    Args:
        data: a folder of `lowmed data prepare`, the name of a known source, or a recipe.
        count: number of samples, each of another image as long as there are any.
        path: local copy of a known source.
        split: only this split.
        seed: selects the samples.

    Raises:
        LowmedError: the data set does not exist or is damaged, there is no such split, `count` is not positive, or
            IPython is not installed.
    """
    display = _html()
    from lowmed.data import folder
    from lowmed.data.load import load, load_data
    from lowmed.data.sources import KNOWN
    from lowmed.errors import RecipeError
    from lowmed.recipe import Recipe
    from lowmed.report import in_notebook

    if count < 1:
        raise RecipeError("there is nothing to show", f"count={count}", "use 1 or more")
    if isinstance(data, Recipe):
        loaded = load_data(data.data, path, max_image_tokens=data.model.max_image_tokens)
    elif fspath(data) in KNOWN or not ("/" in fspath(data) or Path(data).exists()):
        loaded = load(fspath(data), path)
    else:
        loaded = folder.load(fspath(data), images=False)
    return display(in_notebook.sample_cards(loaded, in_notebook.draw(loaded, count, seed, split)))


def _html() -> "type[HTML]":
    """The class of outputs, which is imported here: lowmed does not depend on IPython."""
    from lowmed.errors import SetupError

    try:
        from IPython.display import HTML
    except ImportError:
        raise SetupError(
            "IPython is not installed, and only a notebook shows this output",
            "lowmed.show_report, lowmed.show_samples",
            "run it in a notebook, or use `lowmed report` and `lowmed data show` and open their pages",
        ) from None
    return HTML
