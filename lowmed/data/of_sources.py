"""The part of a run's split that belongs to some of its data sets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lowmed.data.split import DataSplit
from lowmed.sample import Sample


def of_sources(data_split: DataSplit, names: Sequence[str]) -> DataSplit:
    """The split with the held-out questions of some of the merged data sets; it is trained on all of them.

    The parts of a single data set have the names that it gives them, e.g. `test`, so that runs on it and on a mixture
    can be compared.
    """
    held_out: dict[str, tuple[Sample, ...]] = {}
    renamed: dict[str, str] = {}
    for part, samples in data_split.held_out.items():
        if kept := tuple(sample for sample in samples if sample.source in names):
            renamed[part] = part.removesuffix(f" ({names[0]})") if len(names) == 1 else part
            held_out[renamed[part]] = kept
    contents = {
        part: {*(image for row in rows for image in row.images), *(row.group for row in rows)}
        for part, rows in held_out.items()
    }

    def within(shared: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
        return {new: shared.get(old, frozenset()) & contents[new] for old, new in renamed.items()}

    return replace(
        data_split,
        source="+".join(names),
        held_out=held_out,
        images_in_train=within(data_split.images_in_train),
        images_in_published_train=within(data_split.images_in_published_train),
        patients_in_train=within(data_split.patients_in_train),
        changed={new: data_split.changed[old] for old, new in renamed.items() if old in data_split.changed},
    )
