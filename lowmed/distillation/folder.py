"""Write the distilled data set: the layout of its source, other explanations."""

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lowmed import __version__
from lowmed.data.dataset import DataSet
from lowmed.data.image.files import inside, locate
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest import image_store, prepared_folder
from lowmed.data.ingest.image_store import ImageStoreSettings, StoredFile
from lowmed.data.sources import KNOWN
from lowmed.files import to_jsonl, write_text
from lowmed.sample import Sample

Splits = Mapping[str, Sequence[Sample]]


def write(out: Path, dataset: DataSet, splits: Splits, notes: Mapping[str, int], max_image_tokens: int) -> str:
    """Write rows and images; `samples.jsonl` last, so that no incomplete data set can be loaded.

    A prepared source gives a prepared folder, whose images are links to the same files where the file system allows
    that. Another folder gives copies of its images, and generated images are stored.

    Args:
        out: the folder, which exists.
        dataset: the source.
        splits: the rows by split.
        notes: for the card: rows by what was done with them.
        max_image_tokens: pixel policy that generated images are stored with.

    Returns:
        The digest of `samples.jsonl`.
    """
    for name in (prepared_folder.SAMPLES, prepared_folder.CARD):
        (out / name).unlink(missing_ok=True)
    card = prepared_folder.data_card(dataset.folder) if dataset.folder else None
    if dataset.folder is None:
        splits, card = _store_generated(out, dataset, splits, max_image_tokens)
    else:
        _copy_images(dataset.folder, out, splits, link=card is not None)
        _copy_records(dataset.folder, out, splits)
    rows = (prepared_folder.sample_line(sample, split) for split, samples in splits.items() for sample in samples)
    text = to_jsonl(rows)
    unfinished = out / f".{prepared_folder.SAMPLES}.tmp"
    write_text(unfinished, text)
    digest = prepared_folder.samples_digest(unfinished)
    if card:
        used = {image for samples in splits.values() for sample in samples for image in sample.images}
        updates = {
            "rows": {split: len(samples) for split, samples in sorted(splits.items())},
            "kinds": dict(sorted(Counter(sample.kind for rows in splits.values() for sample in rows).items())),
            "images": len(used),
            "notes": {**card.notes, **notes},
            "samples_sha256": digest,
            "lowmed": __version__,
        }
        write_text(out / prepared_folder.CARD, card.model_copy(update=updates).model_dump_json(indent=2) + "\n")
    unfinished.replace(out / prepared_folder.SAMPLES)
    return digest


def _copy_images(source: Path, out: Path, splits: Splits, *, link: bool) -> None:
    for reference in sorted({image for samples in splits.values() for sample in samples for image in sample.images}):
        target = out / inside(reference)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        file = locate(source, reference)
        try:
            if not link:  # the user may edit files of a folder that lowmed did not write
                raise OSError
            os.link(file, target)
        except OSError:
            temporary = target.with_name(f"{target.name}.tmp")
            shutil.copyfile(file, temporary)
            temporary.replace(target)


def _copy_records(source: Path, out: Path, splits: Splits) -> None:
    """The records of the images that are used, and of the rows that the import rejected."""
    used = {image for samples in splits.values() for sample in samples for image in sample.images}
    stored = [(digest, file) for digest, file in prepared_folder.stored_files(source) if used & set(file.images)]
    if stored:
        write_text(out / prepared_folder.IMAGES, to_jsonl({"settings": name, **file.record} for name, file in stored))
    if (source / prepared_folder.REJECTED).is_file():
        shutil.copyfile(source / prepared_folder.REJECTED, out / prepared_folder.REJECTED)


def _store_generated(
    out: Path, dataset: DataSet, splits: Splits, max_image_tokens: int
) -> tuple[dict[str, list[Sample]], prepared_folder.DataCard]:
    """Store generated images as `data prepare` stores them, and return rows that refer to the files, and a card."""
    settings = ImageStoreSettings(PixelPolicy(max_image_tokens))
    (out / image_store.FOLDER).mkdir(exist_ok=True)
    stored: dict[str, StoredFile] = {}
    for reference in dict.fromkeys(image for rows in splits.values() for sample in rows for image in sample.images):
        stored[reference] = image_store.store_image(dataset.open_image(reference), reference, settings.policy, out)
    write_text(
        out / prepared_folder.IMAGES,
        to_jsonl({"settings": settings.digest, **file.record} for file in stored.values()),
    )
    names = {reference: file.images[0] for reference, file in stored.items()}
    moved = {
        split: [
            replace(
                sample,
                images=tuple(names[image] for image in sample.images),
                group=names.get(sample.group, sample.group),
            )
            for sample in samples
        ]
        for split, samples in splits.items()
    }
    card = prepared_folder.DataCard(
        **KNOWN[dataset.source].card(),
        rows={},
        kinds={},
        images=0,
        has_images=True,
        max_image_tokens=max_image_tokens,
        frames=settings.frames,
        window=None,
        rejected={},
        samples_sha256="",
        lowmed=__version__,
    )
    return moved, card
