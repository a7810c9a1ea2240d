"""Find the tables of a folder or an archive: a single one, or shards and splits by their names."""

import re
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from lowmed.data.image.files import inside
from lowmed.data.ingest import tables
from lowmed.data.ingest.columns import SPLITS
from lowmed.errors import DataError

MAX_UNPACKED_BYTES = 2**31  # of the tables in an archive
PREPARED = "samples.jsonl"
# Files of the `datasets` library that describe others.
_ABOUT = ("state.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "card.json")
_SHARD = re.compile(r"(?P<name>[A-Za-z]+)(?:[-_.]\d+[-_]of[-_]\d+)?")


def has_table(folder: Path) -> bool:
    """Whether the folder, or `data/` in it, contains a table."""
    return any(_tables(place) for place in (folder, folder / "data")) or bool(_saved_splits(folder))


def in_folder(folder: Path) -> list[tuple[Path, str]]:
    """The tables of a folder, each with the split of its rows.

    Several tables are read together if their names are those of splits, such as `train.csv` and `test.csv`, or of
    shards, such as `train-00000-of-00002.parquet`. The `datasets` library's `save_to_disk` writes a folder a split.

    Raises:
        DataError: there is no table, or there are several with other names.
    """
    if saved := _saved_splits(folder):
        return [(file, split) for split, place in saved for file, _ in in_folder(place)]
    files = _tables(folder) or _tables(folder / "data")
    prepared = [file for file in files if file.name == PREPARED]
    if prepared or len(files) == 1:
        [file] = prepared or files
        return [(file, _split(file) or "train")]
    if not files:
        raise DataError("no table in the folder", str(folder), "name the table itself, e.g. FOLDER/questions.csv")
    splits = [(file, _split(file)) for file in files]
    if all(split for _, split in splits):
        return splits
    names = ", ".join(file.name for file in files[:5]) + (" ..." if len(files) > 5 else "")
    what = f"{len(files)} tables in the folder: {names}"
    raise DataError(what, str(folder), "name one, e.g. FOLDER/questions.csv, or call them train.csv, test.csv ...")


def unpack(archive: Path) -> "tempfile.TemporaryDirectory[str]":
    """The tables of a zip archive in a temporary folder, which the caller removes.

    Raises:
        DataError: the archive is damaged, has no table, or its tables need over 2 GiB.
    """
    folder = tempfile.TemporaryDirectory(prefix="lowmed-")
    try:
        with zipfile.ZipFile(archive) as content:
            members = [member for member in content.infolist() if _is_table(PurePosixPath(member.filename))]
            if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
                what = f"the tables of the archive need over {MAX_UNPACKED_BYTES // 2**30} GiB"
                raise DataError(what, str(archive), "unpack it and name the folder")
            paths = [inside(member.filename) for member in members]
            top = min((len(path.parts) for path in paths), default=0)
            if len({path.parent for path in paths if len(path.parts) == top}) > 1:
                raise DataError("several folders of the archive have tables", str(archive), "unpack it and name one")
            for member, path in zip(members, paths, strict=True):
                if len(path.parts) == top:
                    (Path(folder.name) / path.name).write_bytes(content.read(member))
    except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, NotImplementedError) as error:
        what = f"the archive cannot be read ({type(error).__name__})"
        raise DataError(what, str(archive), "copy it again") from error
    if not top:
        raise DataError("the archive contains no table", str(archive), f"it needs one of {', '.join(tables.SUFFIXES)}")
    return folder


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_table(PurePosixPath(path.name))) if folder.is_dir() else []


def _is_table(path: PurePosixPath) -> bool:
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in tables.SUFFIXES and path.name not in _ABOUT and not hidden


def _saved_splits(folder: Path) -> list[tuple[str, Path]]:
    """The folders of the splits that `DatasetDict.save_to_disk` wrote."""
    if not (folder / "dataset_dict.json").is_file():
        return []
    return [
        (SPLITS.get(place.name.casefold(), place.name), place) for place in sorted(folder.iterdir()) if place.is_dir()
    ]


def _split(file: Path) -> str:
    """The split that the name of a table states; "train" for a shard without one, "" for another name."""
    match = _SHARD.fullmatch(file.stem)
    name = match["name"].casefold() if match else ""
    return "train" if name == "data" else SPLITS.get(name, "")
