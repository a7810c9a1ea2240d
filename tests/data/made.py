"""Small generated data sets, and a short way to import them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest import source_names
from lowmed.data.ingest.detect import ImportOptions, RowStream, open_source
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.data.ingest.prepare import PrepareCounts, prepare

SHARED = Path(__file__).parents[2] / "../shared"
FIXTURES = Path(__file__).parents[1] / "fixtures"
SALT = b"a salt that is only for the tests"
SETTINGS = ImageStoreSettings(PixelPolicy(64), salt=SALT)
Row = dict[str, Any]


def make_image(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A smooth image that is unique to the seed and has a distinct perceptual hash."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def save_images(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        make_image(seed).save(folder / name)


def jsonl(path: Path, *rows: Row | str) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def row(number: int, image: str, **changes: Any) -> Row:
    answer = "yes" if number % 2 else "no"
    return {"id": f"q{number}", "image": image, "question": f"Is there a mass, {number}?", "answer": answer, **changes}


def build(
    source: Path | RowStream,
    out: Path,
    settings: ImageStoreSettings = SETTINGS,
    import_options: ImportOptions | None = None,
    **options: Any,
) -> PrepareCounts:
    rows = source if isinstance(source, RowStream) else open_source(source, import_options or ImportOptions())
    return prepare(rows.entries, out, settings, {"source": "own"}, **options)


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def samples(out: Path) -> list[Row]:
    return lines(out / "samples.jsonl")


def rejected(out: Path) -> list[tuple[str, int | None, str]]:
    """The rejected rows with the names and reasons that are kept outside of the folder."""
    rows = [(each["file"], each["line"], each["reason"]) for each in lines(out / "rejected.jsonl")]
    names, reasons = source_names.read_names(out), source_names.read_reasons(out)
    return [(names[file], line, reasons[file, line, reason]) for file, line, reason in rows]


def everything(folder: Path) -> Sequence[bytes]:
    """The bytes of every file below a folder."""
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


def slake_with_images(folder: Path) -> Path:
    """The questions of the real SLAKE in the fixtures, with generated images."""
    names = set()
    folder.mkdir(parents=True)
    for file in (FIXTURES / "slake").glob("*.json"):
        rows = json.loads(file.read_text(encoding="utf-8"))
        names |= {row["img_name"] for row in rows}
        (folder / file.name).write_text(json.dumps(rows), encoding="utf-8")
    save_images(folder / "imgs", *sorted(names))
    return folder
