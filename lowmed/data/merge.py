"""Merge several data sets into one in which equal images have one reference, whatever their files are called.

References are digests of the decoded original pixels. So every comparison of references compares pixels, as within one
data set, and no check of leaks or groups has to know that there are several data sets.
"""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from PIL import Image

from lowmed.data.dataset import DataSet, RejectedRow
from lowmed.data.image.policy import one_channel
from lowmed.data.ingest.image_store import pixel_digest
from lowmed.data.mixture import TRAIN, interleaved, part_of_source
from lowmed.sample import Sample

REFERENCE = "pixels/"  # begins every reference of a merged data set


def merge(datasets: Mapping[str, DataSet]) -> DataSet:
    """One data set of several, in their order.

    `Sample.source` becomes the name of the data set, and a stratum `source` if there are several. An id that several of
    them use gets that name as a prefix, in all of them. Training rows are interleaved by size, so that the first rows
    represent all data sets; other published parts stay apart, as `test (NAME)`. A patient's name that occurs in several
    data sets is taken for the same patient, because a missed leak is worse than two people who are never separated.

    Args:
        datasets: the data sets by their unique names.
    """
    references = {name: _references(dataset) for name, dataset in datasets.items()}
    opened: dict[str, tuple[str, str]] = {}
    for name, known in references.items():
        for reference, merged in known.items():
            opened.setdefault(merged, (name, reference))
    ids = _unique_ids(datasets)
    splits: dict[str, tuple[Sample, ...]] = {}
    parts: dict[str, dict[str, tuple[Sample, ...]]] = {}
    for name, dataset in datasets.items():
        parts[name] = {
            split: tuple(
                _renamed(sample, name, ids[name][sample.id], references[name], stratum=len(datasets) > 1)
                for sample in samples
            )
            for split, samples in dataset.splits.items()
        }
    train = interleaved([part.get(TRAIN, ()) for part in parts.values()])
    splits = {TRAIN: train} if train else {}
    for name, part in parts.items():
        splits |= {part_of_source(split, name): rows for split, rows in part.items() if split != TRAIN and rows}
    return DataSet(
        "+".join(datasets),
        splits,
        tuple(
            RejectedRow(f"{name}: {row.where}", row.reason)
            for name, dataset in datasets.items()
            for row in dataset.rejected
        ),
        partial(_open, datasets, opened),
        tuple(f"{name}: {image}" for name, dataset in datasets.items() for image in dataset.unused),
        {merged: merged.removeprefix(REFERENCE) for merged in opened},
        _budgets(datasets),
        tuple(datasets),
    )


def _references(dataset: DataSet) -> dict[str, str]:
    """Image reference -> its reference in the merged data set."""
    used = list(dict.fromkeys(image for sample in dataset.samples for image in sample.images))
    # The digests of a data set that stores images under a budget are those of the original pixels. Others may be those
    # of the files, which differ between a JPEG and a copy of it with other metadata.
    known = dataset.pixels if dataset.max_image_tokens is not None else {}
    decoded = [image for image in used if image not in known]
    with ThreadPoolExecutor() as pool:
        digests = dict(zip(decoded, pool.map(partial(_digest, dataset), decoded), strict=True))
    return {image: f"{REFERENCE}{known.get(image) or digests[image]}" for image in used}


def _digest(dataset: DataSet, image: str) -> str:
    return pixel_digest(one_channel(dataset.open_image(image)))


def _unique_ids(datasets: Mapping[str, DataSet]) -> dict[str, dict[str, str]]:
    """For each data set, id -> unique id."""
    count = Counter(sample.id for dataset in datasets.values() for sample in dataset.samples)
    return {
        name: {sample.id: _unique_id(sample.id, name, count) for sample in dataset.samples}
        for name, dataset in datasets.items()
    }


def _unique_id(sample_id: str, name: str, count: Mapping[str, int]) -> str:
    if count[sample_id] == 1:
        return sample_id
    prefixed = f"{name}/{sample_id}"
    while count.get(prefixed):
        prefixed = f"{name}/{prefixed}"
    return prefixed


def _renamed(sample: Sample, name: str, unique_id: str, references: Mapping[str, str], *, stratum: bool) -> Sample:
    """The sample with unique id, merged references, and a group that no unrelated sample of another set has."""
    group = references.get(sample.group, unique_id if sample.group == sample.id else sample.group)
    images = tuple(references[image] for image in sample.images)
    strata = tuple(sorted((dict(sample.strata) | {"source": name}).items())) if stratum else sample.strata
    return replace(sample, id=unique_id, source=name, group=group, images=images, strata=strata)


def _open(datasets: Mapping[str, DataSet], opened: Mapping[str, tuple[str, str]], reference: str) -> Image.Image:
    name, original = opened[reference]
    return datasets[name].open_image(original)


def _budgets(datasets: Mapping[str, DataSet]) -> int | str | None:
    """The budget that the images were stored with; all of them as a text if they differ."""
    budgets = {dataset.max_image_tokens for dataset in datasets.values()}
    if len(budgets) == 1:
        return budgets.pop()
    return ", ".join(f"{name} {dataset.max_image_tokens or 'none'}" for name, dataset in datasets.items())
