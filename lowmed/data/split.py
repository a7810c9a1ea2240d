"""Split a data set into the samples that a run trains on and the samples that it is evaluated on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from PIL import Image

from lowmed.data.dataset import DataSet
from lowmed.data.extraction import as_json_task
from lowmed.data.group_split import by_group, draw, patient_groups, shared_images
from lowmed.data.identity import RowIdentity
from lowmed.data.mixture import by_turns, interleaved, part_of_source
from lowmed.data.pairs import Pairs
from lowmed.data.unpaired import Unpaired
from lowmed.data.validate import check_rejected, find_problems, raise_unless_allowed, require_right_or_wrong
from lowmed.errors import DataError
from lowmed.recipe import DataSpec
from lowmed.sample import Sample

HELD_OUT, DEV = "held-out", "dev"
PUBLISHED_DEV = ("validation", "dev", "val")  # names of a published part for the evaluation during training


@dataclass(frozen=True)
class DataSplit:
    """The samples of one run. Rows of a published test split are never trained on.

    Attributes:
        source: the name of the source.
        train: the samples to train on.
        held_out: the samples of each held-out part.
        images_in_train: for each held-out part, its images that are also trained on.
        images_in_published_train: for each held-out part, its images that the published training split also has.
        open_image: returns the decoded image of a reference.
        digest: digest of the data set.
        patients_in_train: for each held-out part, its patients that are also trained on.
        rows: the identity of all rows of the data set, with their part.
        changed: for each held-out part, a warning if the data have changed since the run started, or if the starting
            adapter was trained on the part.
        dev: the samples that the run is evaluated on during training.
        pairs: the pairs of completions of each training sample, by id; empty for methods without pairs.
        unpaired: the labeled completions of each training sample, by id; empty for methods without them.
    """

    source: str
    train: tuple[Sample, ...]
    held_out: Mapping[str, tuple[Sample, ...]]
    images_in_train: Mapping[str, frozenset[str]]
    images_in_published_train: Mapping[str, frozenset[str]]
    open_image: Callable[[str], Image.Image]
    digest: str
    patients_in_train: Mapping[str, frozenset[str]] = field(default_factory=dict)
    rows: tuple[RowIdentity, ...] = ()
    changed: Mapping[str, str] = field(default_factory=dict)
    dev: tuple[Sample, ...] = ()
    pairs: Pairs = field(default_factory=dict)
    unpaired: Unpaired = field(default_factory=dict)

    @property
    def drawn(self) -> tuple[Sample, ...]:
        """The training samples as often as an epoch draws them: once, or once for each labeled completion."""
        return tuple(sample for sample in self.train for _ in self.unpaired.get(sample.id, (None,)))

    def describe(self) -> list[str]:
        """One line for each part: questions, distinct images, and images that are also trained on."""
        lines = [f"train     {_count(self.train)}"]
        if self.dev:
            lines.append(f"{DEV:<9} {_count(self.dev)}, evaluated during training")
        for name, samples in self.held_out.items():
            lines.append(f"{name:<9} {_count(samples)}{self.stamp(name)}")
        return lines

    def ids(self) -> dict[str, list[str]]:
        """The sample ids of each part, including `train` and `dev`."""
        parts = {"train": self.train, **({DEV: self.dev} if self.dev else {}), **self.held_out}
        return {name: [sample.id for sample in part] for name, part in parts.items()}

    def stamp(self, name: str) -> str:
        """The warning for every table of a part: shared images, shared patients, changed data; "" if there is none."""
        warnings = {
            "; {} of them are trained on": self.images_in_train[name],
            "; the published split shares {} with train": self.images_in_published_train[name],
            "; {} of its patients are trained on": self.patients_in_train.get(name, ()),
            "; {} of its images or patients are in dev": _shared(self.dev, self.held_out[name]),
        }
        texts = [warning.format(len(shared)) for warning, shared in warnings.items() if shared]
        return "".join([*texts, f"; {self.changed[name]}" if name in self.changed else ""])


def split_data(dataset: DataSet, spec: DataSpec, seed: int) -> DataSplit:
    """Split a data set as a recipe requires.

    `split_by: image` holds out a share of the training images and keeps a published test split as a further part, with
    a warning if it shares images with training. Data with a part `held-out` that shares nothing with training keep that
    part, and no further share is held out. `official` trains on all training rows and refuses shared images
    unless the recipe allows them. `auto` is `official` if that split shares nothing, else `image`. `task: extraction`
    first merges the questions about an image. `modality` filters training and dev rows only. `dev` takes a share of the
    training rows, or the published part `validation`, out for the evaluation during training.

    Raises:
        DataError: no training row is left, more rows are rejected than the recipe allows, the published split shares
            images and the recipe does not allow that, or there is no published part for `dev`.
    """
    check_rejected(dataset, spec.max_rejected)
    if spec.task == "extraction":
        dataset = as_json_task(dataset)
    train = _of_modality(dataset.splits.get("train", ()), spec.modality)
    held_out = {name: samples for name, samples in dataset.splits.items() if name != "train" and samples}
    dev: tuple[Sample, ...] = ()
    if spec.dev == "published":
        names, dev = _published_dev(dataset, held_out, spec.modality)
        held_out = {name: samples for name, samples in held_out.items() if name not in names}
    dev_share = 0.0 if spec.dev == "published" else spec.dev
    published = train
    divide = partial(by_group, seed=seed, pixels=dataset.pixels, by_source=bool(dataset.merged))
    has_part = _shares_nothing(train, {HELD_OUT: held_out.get(HELD_OUT, ())}, dataset.merged)
    is_clean = spec.split_by == "auto" and _shares_nothing(train, held_out, dataset.merged)
    if spec.split_by != "official" and not has_part and not is_clean:
        parts = divide(train, {"train": 1 - spec.held_out - dev_share, HELD_OUT: spec.held_out, DEV: dev_share})
        train, dev = parts["train"], dev or by_turns(parts[DEV], dataset.merged)
        held_out = {HELD_OUT: by_turns(parts[HELD_OUT], dataset.merged), **held_out} if parts[HELD_OUT] else held_out
    elif dev_share:
        parts = divide(train, {"train": 1 - dev_share, DEV: dev_share})
        train, dev = parts["train"], parts[DEV]
    if not train:
        raise DataError(
            f"{dataset.source} leaves no training rows",
            "data",
            "check data.path, and data.held_out if the split is by image",
        )
    shared = _shared_with(train, held_out)
    if spec.split_by == "official" and any(shared.values()) and not spec.allow_shared_images:
        name = max(shared, key=lambda part: len(shared[part]))
        images = {image for sample in held_out[name] for image in sample.images}
        raise DataError(
            f"{len(shared[name])} of the {len(images)} {name} images of {dataset.source} also occur in its train split",
            "data.split_by",
            "split by image (data.split_by=image), or set data.allow_shared_images=true; every table then states it",
        )
    if spec.dev == "published" and (leaked := shared_images(train, dev)) and not spec.allow_shared_images:
        raise DataError(
            f"{len(leaked)} images of the published dev part of {dataset.source} are trained on",
            "data.dev",
            "take a share of the training questions (data.dev=0.1), or set data.allow_shared_images=true",
        )
    train = _limited_training(train, spec, seed, dataset.pixels)
    shared = _shared_with(train, held_out)
    # The held-out part is taken from the published training split, so the two share nothing by definition.
    published_shared = _shared_with(published, held_out) | {HELD_OUT: frozenset()}
    patients = patient_groups(train)
    shared_patients = {name: frozenset(patient_groups(samples) & patients) for name, samples in held_out.items()}
    return DataSplit(
        dataset.source,
        train,
        held_out,
        shared,
        published_shared,
        dataset.open_image,
        dataset.digest,
        shared_patients,
        _with_parts(dataset.rows, {**held_out, DEV: dev}),
        dev=dev,
    )


def training_questions_only(data_split: DataSplit, limit: int) -> DataSplit:
    """The first `limit` training questions as the only held-out part, `train`: the questions of a probe.

    Raises:
        DataError: one of them is a report.
    """
    require_right_or_wrong(data_split.train[:limit], data_split.source)
    none: dict[str, frozenset[str]] = {"train": frozenset()}
    questions = {"train": data_split.train[:limit]}
    return replace(
        data_split,
        train=(),
        dev=(),
        held_out=questions,
        images_in_train=none,
        images_in_published_train=none,
        patients_in_train=none,
    )


def evaluation_only(dataset: DataSet) -> DataSplit:
    """A data set to evaluate a model on that was trained on other data.

    The held-out parts are its test splits, or all of it (`all`) if it has none. `train` is the published training
    split, which only the answer prior uses.
    """
    train = dataset.splits.get("train", ())
    held_out = {name: samples for name, samples in dataset.splits.items() if name != "train"} or {"all": train}
    none: dict[str, frozenset[str]] = {name: frozenset() for name in held_out}
    for_prior = train if "all" not in held_out else ()
    shared = _shared_with(for_prior, held_out)
    return DataSplit(dataset.source, for_prior, held_out, none, shared, dataset.open_image, dataset.digest)


def validate_split(data_split: DataSplit, spec: DataSpec) -> tuple[str, ...]:
    """Check for held-out groups that are trained on and for gold answers that cannot be read back.

    Shared images are checked by `split_data`, which refuses them or states them in every table. It also states shared
    patients, which are refused here if the split is `official` and the recipe does not allow shared images.

    Returns:
        The problems that the recipe allows, as sentences for every later table.

    Raises:
        DataError: there is a problem that the recipe does not allow.
    """
    stated = spec.split_by != "official" or spec.allow_shared_images
    allowed = {"shared-images", *(["shared-groups"] if stated else [])}
    checked = {**data_split.held_out, **({DEV: data_split.dev} if data_split.dev else {})}
    return raise_unless_allowed(find_problems(data_split.train, checked), allowed)


def limited(data_split: DataSplit, limit: int | None) -> DataSplit:
    """The split with at most `limit` samples in each held-out part; None keeps all."""
    if limit is None:
        return data_split
    return replace(data_split, held_out={name: samples[:limit] for name, samples in data_split.held_out.items()})


def _with_parts(rows: Sequence[RowIdentity], held_out: Mapping[str, Sequence[Sample]]) -> tuple[RowIdentity, ...]:
    """The rows with their part: dev, a held-out part, or `train` for all others, whether trained on or left out."""
    part_of = {sample.id: name for name, samples in held_out.items() for sample in samples}
    return tuple(
        RowIdentity(row.id, row.split, row.text, row.images, row.group, part_of.get(row.id, "train")) for row in rows
    )


def _limited_training(
    train: tuple[Sample, ...], spec: DataSpec, seed: int, pixels: Mapping[str, str]
) -> tuple[Sample, ...]:
    """The training samples within the limits of each source and of all; the first ones represent all sources."""
    if spec.sources:
        by_source = {name: [sample for sample in train if sample.source == name] for name in spec.names}
        limits = {name: entry.train_limit for name, entry in zip(spec.names, spec.sources, strict=True)}
        train = interleaved([draw(rows, limits[name] or len(rows), seed, pixels) for name, rows in by_source.items()])
    return draw(train, spec.max_train_questions, seed, pixels) if spec.max_train_questions else train


def _published_dev(
    dataset: DataSet, held_out: Mapping[str, tuple[Sample, ...]], modality: str | None
) -> tuple[set[str], tuple[Sample, ...]]:
    """The names and the samples of the published parts for the evaluation during training, one of each data set."""
    samples_of: dict[str, tuple[Sample, ...]] = {}
    for name in dataset.merged or [""]:
        for published in PUBLISHED_DEV:
            part = part_of_source(published, name) if name else published
            if kept := tuple(sample for sample in held_out.get(part, ()) if modality in (None, sample.modality)):
                samples_of[part] = kept
                break
    if samples_of:
        return set(samples_of), tuple(sample for samples in samples_of.values() for sample in samples)
    of_modality = f" of modality `{modality}`" if modality else ""
    raise DataError(
        f"{dataset.source} has no published part `{PUBLISHED_DEV[0]}`{of_modality} to evaluate on during training",
        "data.dev",
        "take a share of the training questions, e.g. data.dev=0.1",
    )


def _of_modality(train: tuple[Sample, ...], modality: str | None) -> tuple[Sample, ...]:
    if modality is None or not train:
        return train
    if kept := tuple(sample for sample in train if sample.modality == modality):
        return kept
    present = sorted({sample.modality for sample in train if sample.modality})
    raise DataError(
        f"no training row has the modality `{modality}`",
        "data.modality",
        f"use one of {', '.join(present)}" if present else "leave data.modality out: these data have no modalities",
    )


def _shares_nothing(train: Sequence[Sample], held_out: Mapping[str, tuple[Sample, ...]], merged: Sequence[str]) -> bool:
    """Whether there are held-out samples, of each merged source, and none of their images and groups is trained on."""
    groups = {sample.group for sample in train}
    others = [sample for samples in held_out.values() for sample in samples]
    complete = bool(others) and {sample.source for sample in others}.issuperset(merged)
    return complete and not shared_images(train, others) and groups.isdisjoint(sample.group for sample in others)


def _shared_with(train: Sequence[Sample], held_out: Mapping[str, tuple[Sample, ...]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(shared_images(train, samples)) for name, samples in held_out.items()}


def _shared(dev: Sequence[Sample], samples: Sequence[Sample]) -> set[str]:
    """The images and patients that dev and a held-out part share."""
    return shared_images(dev, samples) | (patient_groups(dev) & patient_groups(samples))


def _count(samples: tuple[Sample, ...]) -> str:
    images = {image for sample in samples for image in sample.images}
    return f"{len(samples):,} questions on {len(images):,} images"
