"""Which samples a run trains on and which it is measured on, and whether the two share images."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from lowmed.data.dataset import DataSet
from lowmed.data.extraction import as_json_task
from lowmed.data.group_split import by_group, shared_images
from lowmed.data.validate import find_problems, raise_unless_allowed
from lowmed.errors import DataError
from lowmed.recipe import DataSpec
from lowmed.sample import Sample

HELD_OUT = "held-out"
REJECTED_SHOWN = 3


@dataclass(frozen=True)
class DataSplit:
    """The samples of one run: those to train on, and by name those held out; test rows are never trained on.

    `shared` has, for each held-out part, the images that are also trained on; `published_shared` has those that the
    publisher's own training split shares with it.
    """

    source: str
    train: tuple[Sample, ...]
    held_out: Mapping[str, tuple[Sample, ...]]
    shared: Mapping[str, frozenset[str]]
    published_shared: Mapping[str, frozenset[str]]
    open_image: Callable[[str], Image.Image]
    digest: str

    def describe(self) -> list[str]:
        """One line a part: rows, distinct images, and images that are also trained on."""
        lines = [f"train     {_count(self.train)}"]
        for name, samples in self.held_out.items():
            lines.append(f"{name:<9} {_count(samples)}{self.stamp(name)}")
        return lines

    def ids(self) -> dict[str, list[str]]:
        """The sample ids of each part, `train` among them."""
        return {name: [sample.id for sample in part] for name, part in {"train": self.train, **self.held_out}.items()}

    def stamp(self, name: str) -> str:
        """What a table of that part must say about images that training saw too; "" where there are none."""
        shared, published = len(self.shared[name]), len(self.published_shared[name])
        trained = f"; {shared} of them are trained on" if shared else ""
        return trained + (f"; the published split shares {published} with train" if published else "")


def split_data(dataset: DataSet, spec: DataSpec, seed: int) -> DataSplit:
    """Split the training rows by image, or take the published split.

    With `split_by: image` a share of the training images is held out, and a published test split stays beside it,
    stamped where it shares images with training. With `official` all training rows are trained on, and sharing is an
    error unless the recipe allows it by name. `auto` is `official` where that shares nothing, else `image`. With
    `task: extraction` the questions are first gathered by image. With `modality` the training rows of other modalities
    are left out; held-out parts of the publisher keep theirs.

    Raises:
        DataError: nothing to train on, more broken rows than the recipe allows, or the published split shares images
            and the recipe does not allow that.
    """
    _check_rejected(dataset, spec)
    if spec.task == "extraction":
        dataset = as_json_task(dataset)
    train = _of_modality(dataset.splits.get("train", ()), spec.modality)
    held_out = {name: samples for name, samples in dataset.splits.items() if name != "train" and samples}
    published = train
    if spec.split_by == "image" or (spec.split_by == "auto" and not _clean(train, held_out)):
        parts = by_group(train, {"train": 1 - spec.held_out, HELD_OUT: spec.held_out}, seed)
        train = parts["train"]
        held_out = {HELD_OUT: parts[HELD_OUT], **held_out} if parts[HELD_OUT] else held_out
    if not train:
        raise DataError(
            f"{dataset.source} leaves no training rows",
            "data",
            "check data.path, and data.held_out if it splits by image",
        )
    shared = _shared(train, held_out)
    if spec.split_by == "official" and any(shared.values()) and not spec.allow_shared_images:
        name = max(shared, key=lambda each: len(shared[each]))
        images = {image for sample in held_out[name] for image in sample.images}
        raise DataError(
            f"{len(shared[name])} of the {len(images)} {name} images of {dataset.source} also occur in its train split",
            "data.split_by",
            "split by image (data.split_by=image), or set data.allow_shared_images=true and have every table say so",
        )
    if spec.max_train_questions:
        train = tuple(random.Random(seed).sample(train, min(spec.max_train_questions, len(train))))
        shared = _shared(train, held_out)
    published_shared = _shared(published, held_out) | {HELD_OUT: frozenset()}  # which is part of the published train
    return DataSplit(dataset.source, train, held_out, shared, published_shared, dataset.open_image, dataset.digest)


def training_questions_only(data_split: DataSplit, limit: int) -> DataSplit:
    """The first training questions as the one part that is asked, `train`: what a probe measures support on."""
    empty: dict[str, frozenset[str]] = {"train": frozenset()}
    asked = {"train": data_split.train[:limit]}
    return replace(data_split, train=(), held_out=asked, shared=empty, published_shared=empty)


def evaluation_only(dataset: DataSet) -> DataSplit:
    """A data set that nothing here was trained on: its test splits are asked, or all of it where it has none.

    `train` stays the publisher's, for the answer prior alone.
    """
    train = dataset.splits.get("train", ())
    held_out = {name: samples for name, samples in dataset.splits.items() if name != "train"} or {"all": train}
    nothing: dict[str, frozenset[str]] = {name: frozenset() for name in held_out}
    known = train if "all" not in held_out else ()
    return DataSplit(
        dataset.source, known, held_out, nothing, _shared(known, held_out), dataset.open_image, dataset.digest
    )


def _of_modality(train: tuple[Sample, ...], modality: str | None) -> tuple[Sample, ...]:
    if modality is None or not train:
        return train
    if kept := tuple(sample for sample in train if sample.modality == modality):
        return kept
    there = sorted({sample.modality for sample in train if sample.modality})
    raise DataError(
        f"no training row has the modality `{modality}`",
        "data.modality",
        f"use one of {', '.join(there)}" if there else "leave data.modality out: these data do not tell modalities",
    )


def _check_rejected(dataset: DataSet, spec: DataSpec) -> None:
    rejected, rows = dataset.rejected, len(dataset.samples) + len(dataset.rejected)
    if len(rejected) <= spec.max_rejected * rows:
        return
    named = [f"{row.where}: {row.reason}" for row in rejected[:REJECTED_SHOWN]]
    more = len(rejected) - len(named)
    share = -(-1000 * len(rejected) // rows) / 1000  # rounded up
    raise DataError(
        f"{len(rejected):,} of {rows:,} rows of {dataset.source} can not be used",
        "\n".join([*named, *([f"and {more:,} more"] if more else [])]),
        f"mend them, or keep them out by name with data.max_rejected={share:g}",
    )


def validate_split(data_split: DataSplit, spec: DataSpec) -> tuple[str, ...]:
    """Check for held-out groups that are trained on and for gold answers that cannot be read back.

    Shared images are checked by `split_data`, which refuses them or states them in every table.

    Returns:
        The problems that the recipe allows, as sentences for every later table.

    Raises:
        DataError: there is a problem that the recipe does not allow.
    """
    stamped = spec.split_by != "official" or spec.allow_shared_images
    allowed = {"shared-images", *(["shared-groups"] if stamped else [])}
    return raise_unless_allowed(find_problems(data_split.train, data_split.held_out), allowed)


def limited(data_split: DataSplit, limit: int | None) -> DataSplit:
    """The split with at most so many held-out samples in each part."""
    if limit is None:
        return data_split
    return replace(data_split, held_out={name: samples[:limit] for name, samples in data_split.held_out.items()})


def _clean(train: Sequence[Sample], held_out: Mapping[str, tuple[Sample, ...]]) -> bool:
    """Whether there is a published split to measure on, and no image or group of it is trained on."""
    groups = {sample.group for sample in train}
    others = [sample for samples in held_out.values() for sample in samples]
    return bool(others) and not shared_images(train, others) and groups.isdisjoint(sample.group for sample in others)


def _shared(train: Sequence[Sample], held_out: Mapping[str, tuple[Sample, ...]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(shared_images(train, samples)) for name, samples in held_out.items()}


def _count(samples: tuple[Sample, ...]) -> str:
    images = {image for sample in samples for image in sample.images}
    return f"{len(samples):,} questions on {len(images):,} images"
