"""The data set that is distilled: its training questions, and the parts that are carried over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lowmed.data.dataset import DataSet
from lowmed.data.load import FOLDER, load
from lowmed.data.sources import KNOWN
from lowmed.data.split import DEV, DataSplit, split_data, training_questions_only
from lowmed.data.validate import check_rejected
from lowmed.errors import DataError, RecipeError
from lowmed.evaluation.target import MAX_REJECTED
from lowmed.progress import Progress
from lowmed.recipe import DataSpec
from lowmed.run import Run
from lowmed.sample import Sample

TRAIN = "train"


@dataclass(frozen=True)
class DistilData:
    """A data set with its training questions and the parts that stay as they are.

    Attributes:
        dataset: the data set.
        train: the training questions.
        others: the other parts by name, as a run on this data set would have them: held-out, dev, and published ones.
        questions: the same training questions as the only part of a split, for the settings of their completions.
    """

    dataset: DataSet
    train: tuple[Sample, ...]
    others: Mapping[str, tuple[Sample, ...]]
    questions: DataSplit


def open_data(
    source: str, path: str | None, run: Run | None, max_image_tokens: int, progress: Progress | None = None
) -> DistilData:
    """Load a data set and split it as the run was, if it was trained on these data, else as recipes do by default.

    Args:
        source: a known source, `folder`, or a data folder.
        path: local copy of a known source; the folder of `folder`.
        run: the run that is the teacher, if it is one.
        max_image_tokens: the pixel policy that known sources are imported with.
        progress: shows the import of a source that is not cached yet.

    Raises:
        RecipeError: the source is unknown.
        DataError: the data are missing or damaged, have no training rows, or too many rows cannot be used.
    """
    name, where = (source, path) if source in KNOWN or source == FOLDER else (FOLDER, source)
    if name == FOLDER and source != FOLDER:
        _require_folder(source, path)
    dataset = load(name, where, max_image_tokens=max_image_tokens, progress=progress)
    check_rejected(dataset, MAX_REJECTED, "prepare a copy without them: `lowmed data prepare --max-rejected {share:g}`")
    if not dataset.splits.get(TRAIN):
        raise DataError(
            "the data have no training questions, and no others are distilled",
            f"{where or name}: {', '.join(dataset.splits)}",
            "name data with rows of the split `train`",
        )
    spec, seed = DataSpec(source=name, allow_shared_images=True, max_rejected=MAX_REJECTED), 0
    if run and run.record.data_digest == dataset.digest:
        spec = run.recipe.data.model_copy(update={"allow_shared_images": True, "max_rejected": MAX_REJECTED})
        seed = run.recipe.seed
    data_split = split_data(dataset, spec, seed)
    others = {**({DEV: data_split.dev} if data_split.dev else {}), **data_split.held_out}
    questions = training_questions_only(data_split, len(data_split.train))
    return DistilData(dataset, data_split.train, others, questions)


def require_apart(dataset: DataSet, out: Path) -> None:
    """Refuse an output folder that is the source, inside it, or above it.

    Raises:
        DataError: it is.
    """
    if dataset.folder is None:
        return
    source, target = dataset.folder.resolve(), out.expanduser().resolve()
    if source == target or source in target.parents or target in source.parents:
        raise DataError("the new data set would be in the folder of its source", str(out), "choose another --out")


def require_sendable(samples: Sequence[Sample], endpoint: str) -> None:
    """Refuse to send images to a server.

    Raises:
        RecipeError: a question has an image.
    """
    if number := sum(bool(sample.images) for sample in samples):
        raise RecipeError(
            f"{number:,} of {len(samples):,} questions have images, and nothing allows sending them",
            endpoint,
            "add --send-images if these images may leave this machine for that server",
        )


def _require_folder(source: str, path: str | None) -> None:
    if path is not None:
        raise RecipeError(
            f"`{source}` is not a known source, and --path is for known sources", "--path", "name the folder as SOURCE"
        )
    if not Path(source).expanduser().exists():
        raise RecipeError(
            f"`{source}` is not a known source or a data folder",
            "SOURCE",
            "`lowmed data sources` lists the known ones; `lowmed data prepare` makes a folder of your table",
        )
