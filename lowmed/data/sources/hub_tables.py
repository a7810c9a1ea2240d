"""Data sets that the hub stores as tables with the images inside: PathVQA and Silvar-Med."""

from pathlib import Path

from lowmed.data.ingest import tables
from lowmed.data.ingest.columns import SPLITS
from lowmed.data.ingest.detect import ImportOptions, RowStream, concatenate, stream_rows
from lowmed.data.ingest.raw_sample import ImageRoot
from lowmed.data.sources.source import Open, Source
from lowmed.errors import DataError

SAMPLES = "samples.jsonl"


def parquet_reader(source: str) -> Open:
    """A reader of the hub's Parquet files (`data/train-00000-of-00007.parquet`), or of `samples.jsonl` with images."""

    def open_folder(folder: Path, options: ImportOptions) -> RowStream:
        root = folder.parent if folder.is_file() else folder
        files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else [folder]
        if (folder / SAMPLES).is_file():
            files = [folder / SAMPLES]
        if not files or files[0].suffix not in (".parquet", ".jsonl"):
            raise DataError(
                f"no Parquet file and no {SAMPLES} here",
                str(folder),
                "download the `data/` folder of the data set",
            )
        return concatenate(
            [
                stream_rows(
                    tables.read_table(file), tables.count_rows(file), ImageRoot(root), options, source, _split(file)
                )
                for file in files
            ]
        )

    return open_folder


def _split(file: Path) -> str:
    """The split that a file's name begins with."""
    return SPLITS.get(file.stem.split("-")[0].casefold(), "train")


PATH_VQA = Source(
    name="path-vqa",
    about="questions about pathology images of two textbooks and a library",
    size="32,632 questions on 4,289 images",
    kinds="closed, open",
    license="MIT for the questions; the images belong to their publishers",
    citation="He et al., arXiv 2003.10286",
    url="https://github.com/UCSD-AI4H/PathVQA",
    files="the hub's Parquet files (data/train-*.parquet ...)",
    open=parquet_reader("path-vqa"),
    hub_id="flaviagiammarino/path-vqa",
)
SILVAR_MED = Source(
    name="silvar-med",
    about="abnormality questions on SLAKE images, with explanations checked by specialists",
    size="866 questions",
    kinds="open",
    license="not stated; the images are SLAKE's (CC BY 4.0)",
    citation="Silvar-Med, hub id Hanhpt23/Silvar-Med",
    url="https://huggingface.co/datasets/Hanhpt23/Silvar-Med",
    files=f"the hub's Parquet files, or {SAMPLES} with its images",
    open=parquet_reader("silvar-med"),
    hub_id="Hanhpt23/Silvar-Med",
)
