"""PMC-VQA (Zhang et al. 2023): multiple choice about figures of open-access papers.

Version 2 (`train_2.csv`, `test_2.csv`, figures without sub-figures) takes precedence if a folder contains both. Papers
that report on PMC-VQA do not all use the same version.
"""

from dataclasses import replace
from pathlib import Path

from lowmed.data.ingest import tables
from lowmed.data.ingest.columns import SPLITS
from lowmed.data.ingest.detect import ImportOptions, RowStream, concatenate, stream_rows
from lowmed.data.ingest.raw_sample import ImageRoot, image_root
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

VERSIONS = (
    (("train_2.csv", "test_2.csv"), ("figures", "images_2", "images_2.zip", "images2.zip")),
    (("train.csv", "test.csv"), ("images", "images.zip")),
)


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read the CSV files of one version, and its images as a folder or as the published zip."""
    for names, image_places in VERSIONS:
        files = [folder / name for name in names if (folder / name).is_file()]
        if files:
            images = image_root(folder, *image_places)
            rows = concatenate([_read_part(file, images, options) for file in files])
            return replace(rows, description=f"files    {', '.join(f.name for f in files)}\n{rows.description}")
    raise DataError("the folder does not contain PMC-VQA", str(folder), f"it needs {PMC_VQA.files}")


def _read_part(file: Path, images: ImageRoot, options: ImportOptions) -> RowStream:
    """One CSV: version 2 keeps the letter in `Answer`, version 1 the text there and the letter in `Answer_label`."""
    first = next((row for _, row in tables.read_table(file) if not isinstance(row, str)), {})
    letter = "Answer_label" if "Answer_label" in first else "Answer"
    published = {"letter": letter, "answer": "", "image": "Figure_path", "split": "", "id": ""}
    mapped = replace(options, columns={**published, **options.columns})
    split = SPLITS[file.stem.split("_")[0]]
    return stream_rows(tables.read_table(file), tables.count_rows(file), images, mapped, "pmc-vqa", split)


PMC_VQA = Source(
    name="pmc-vqa",
    about="multiple choice about figures of open-access papers",
    size="227,000 questions on 149,000 images (version 1)",
    kinds="choice",
    license="CC BY-SA",
    citation="Zhang et al., arXiv 2305.10415",
    url="https://huggingface.co/datasets/xmcmic/PMC-VQA",
    files="train_2.csv, test_2.csv and images_2.zip (or train.csv, test.csv and images.zip)",
    open=open_folder,
    hub_id="xmcmic/PMC-VQA",
    hub_files=("train_2.csv", "test_2.csv", "images_2.zip"),
)
