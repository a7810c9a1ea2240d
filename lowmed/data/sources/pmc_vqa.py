"""PMC-VQA (Zhang et al. 2023): multiple choice about figures of open-access papers.

Version 2 (`train_2.csv`, `test_2.csv`, figures without sub-figures) wins where a folder holds both; the papers that
report on PMC-VQA do not all use the same file.
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


def open_folder(folder: Path, wish: ImportOptions) -> RowStream:
    """The CSV files of one version, and its images as a folder or as the published zip."""
    for files, places in VERSIONS:
        there = [folder / name for name in files if (folder / name).is_file()]
        if there:
            images = image_root(folder, *places)
            opened = concatenate([_part(file, images, wish) for file in there])
            return replace(opened, understood=f"files    {', '.join(f.name for f in there)}\n{opened.understood}")
    raise DataError("no PMC-VQA in the folder", str(folder), f"it needs {PMC_VQA.get}")


def _part(file: Path, images: ImageRoot, wish: ImportOptions) -> RowStream:
    """One CSV: version 2 keeps the letter in `Answer`, version 1 the text there and the letter in `Answer_label`."""
    first = next((row for _, row in tables.read_table(file) if not isinstance(row, str)), {})
    letter = "Answer_label" if "Answer_label" in first else "Answer"
    given = {"letter": letter, "answer": "", "image": "Figure_path", "split": "", "id": ""}
    told = replace(wish, columns={**given, **wish.columns})
    return stream_rows(
        tables.read_table(file), tables.count_rows(file), images, told, "pmc-vqa", SPLITS[file.stem.split("_")[0]]
    )


PMC_VQA = Source(
    name="pmc-vqa",
    about="multiple choice about figures of open-access papers",
    size="227,000 questions on 149,000 images (version 1)",
    kinds="choice",
    licence="CC BY-SA",
    citation="Zhang et al., arXiv 2305.10415",
    url="https://huggingface.co/datasets/xmcmic/PMC-VQA",
    get="train_2.csv, test_2.csv and images_2.zip (or train.csv, test.csv and images.zip)",
    open=open_folder,
    hub_id="xmcmic/PMC-VQA",
    hub_files=("train_2.csv", "test_2.csv", "images_2.zip"),
)
