"""Speed and memory of preparing a data set, and speed of finding near-duplicates.

    python benchmarks/data.py [FOLDER_OF_IMAGES]

`prepare` is compared with the minimal work on the same files with the same number of threads: Pillow decodes, resizes,
encodes with the same settings, and writes. Both run alternately, each in a separate process. The fastest of their runs
counts, which other processes disturbed least. Without a folder, images are generated: noise, 700 x 560 pixels, JPEG.
Peak memory is that of a process that prepares 1,000 and 10,000 such images of 256 x 256 pixels. Perceptual hashes are
compared 10,000 with 10,000. Results are printed and written to benchmarks/results/data.json, with the versions, the
machine and the date.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from machine import about
from PIL import Image

from lowmed.data.audit import near_duplicates
from lowmed.data.image.policy import PixelPolicy, target_size
from lowmed.data.ingest import image_store
from lowmed.data.ingest.detect import ImportOptions, open_source
from lowmed.data.ingest.prepare import prepare

RESULT = Path(__file__).parent / "results" / "data.json"
RUNS = 5
CORES = os.cpu_count() or 1
POLICY = PixelPolicy(256)
SETTINGS = image_store.ImageStoreSettings(POLICY)
HASHES = 10_000


def prepared(folder: Path, out: Path) -> float:
    started = time.perf_counter()
    prepare(open_source(folder / "table.jsonl", ImportOptions()).entries, out, SETTINGS, {"source": "own"})
    return time.perf_counter() - started


def plain(folder: Path, out: Path) -> float:
    (out / "images").mkdir(parents=True)

    def one(path: Path) -> None:
        with Image.open(path) as image:
            size = target_size(*image.size, POLICY)
            grey = image.mode in ("L", "1", "I;16")
            shown = image.convert("L" if grey else "RGB").resize(size, Image.Resampling.BICUBIC)
        if not grey and all(channel.tobytes() == shown.getchannel(0).tobytes() for channel in shown.split()[1:]):
            shown = shown.getchannel(0)  # grey images are written with one channel, as `prepare` does
        shown.save(out / "images" / f"{path.name}.png", compress_level=image_store.COMPRESS_LEVEL)

    files = [folder / json.loads(line)["image"] for line in (folder / "table.jsonl").read_text().splitlines()]
    started = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(one, files))
    return time.perf_counter() - started


WORK: dict[str, Callable[[Path, Path], float]] = {"prepare": prepared, "plain": plain}


def in_subprocess(what: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak memory in MiB of one kind of work in a separate process."""
    out = Path(tempfile.mkdtemp(dir=folder.parent)) / "out"
    try:
        command = [sys.executable, __file__, "--once", what, str(folder), str(out)]
        seconds, mebibytes = map(float, subprocess.run(command, check=True, capture_output=True).stdout.split())
    finally:
        shutil.rmtree(out.parent)
    return seconds, mebibytes


def generate_images(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write distinct JPEG images with the detail of anatomical ones, and a table with a question about each."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (48, 48), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
    table(folder, [f"{number}.jpg" for number in range(count)])


def table(folder: Path, names: list[str]) -> None:
    rows = ({"id": number, "image": name, "question": "CT?", "answer": "no"} for number, name in enumerate(names))
    (folder / "table.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def speed(folder: Path) -> dict[str, Any]:
    count = len((folder / "table.jsonl").read_text().splitlines())
    seconds: dict[str, list[float]] = {what: [] for what in WORK}
    for _ in range(RUNS):
        for what, taken in seconds.items():
            taken.append(in_subprocess(what, folder)[0])
    rate = {f"{what}_images_per_second": round(count / min(taken), 1) for what, taken in seconds.items()}
    return {"images": count, **rate, "share_of_plain": round(min(seconds["plain"]) / min(seconds["prepare"]), 3)}


def hashes() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    left, right = (generator.integers(0, 2**63, HASHES).tolist() for _ in range(2))
    started = time.perf_counter()
    count = sum(1 for _ in near_duplicates.near_pairs(left, right))
    seconds = time.perf_counter() - started
    return {
        "pairs": HASHES**2,
        "within_bits": near_duplicates.MAX_DISTANCE,
        "found": count,
        "seconds": round(seconds, 2),
        "pairs_per_second": round(HASHES**2 / seconds),
    }


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--once"]:
        seconds = WORK[arguments[1]](Path(arguments[2]), Path(arguments[3]))
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as place:
        work = Path(place) / "speed"
        if arguments:
            shutil.copytree(arguments[0], work)
            table(work, sorted(path.name for path in work.iterdir()))
        else:
            generate_images(work, 300, (700, 560))
        result: dict[str, Any] = {"speed": speed(work), "hashes": hashes(), "peak_memory_mib": {}}
        for count in (1_000, 10_000):
            generate_images(Path(place) / str(count), count, (256, 256))
            result["peak_memory_mib"][f"{count} images"] = round(in_subprocess("prepare", Path(place) / str(count))[1])
    result["of"] = Path(arguments[0]).name if arguments else "generated images"
    result["machine"] = about()
    result["machine"]["load"] = os.getloadavg()
    result["machine"]["versions"] |= {name: version(name) for name in ("pillow", "numpy")}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
