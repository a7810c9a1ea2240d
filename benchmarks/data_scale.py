"""Time and memory of data at two sizes, and what they mean for a million rows: `python benchmarks/data_scale.py`.

Rows are generated: four questions an image, noise of 64 x 64 pixels as PNG, one patient for two images. Each step runs
in a process of its own. Its time is that of the processor (user and system), so that other processes do not count. A
million rows are not measured: the larger size is extended by the slope between both.

Shards are measured with one question an image, JPEG of 700 x 560 pixels: the time of the slowest shard and of the merge
is what n processes on n cores would take.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from machine import store
from PIL import Image

SIZES = (10_000, 100_000)
MILLION = 1_000_000
PER_IMAGE, IMAGES_PER_PATIENT = 4, 2
SHARDS, SHARD_ROWS = (2, 4, 8), 1000
FINDINGS = ("effusion", "mass", "fracture", "nodule")


def generate(folder: Path, rows: int, per_image: int, size: tuple[int, int], suffix: str) -> None:
    (folder / "scans").mkdir(parents=True)
    with (folder / "table.jsonl").open("w") as table:
        for image in range(rows // per_image):
            name = f"scans/{image:07}.{suffix}"
            pixels = np.random.default_rng(image).integers(0, 256, size, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
            for number, finding in enumerate(FINDINGS[:per_image]):
                row = {
                    "question": f"Is there a {finding} in the image?",
                    "answer": "yes" if (image >> number) % 2 else "no",
                    "image": name,
                    "group": f"patient {image // IMAGES_PER_PATIENT}",
                    "split": "train" if image % 10 < 8 else "test",
                }
                table.write(json.dumps(row) + "\n")


def prepare(folder: Path) -> None:
    from lowmed.api.prepare import prepare as build

    build(str(folder / "table.jsonl"), folder / "data")


def shard(folder: Path, number: int, of: int) -> None:
    from lowmed.api.prepare_shard import prepare_shard

    prepare_shard(str(folder / "table.jsonl"), folder / f"s{number}of{of}", f"{number}/{of}")


def merge(folder: Path, of: int) -> None:
    from lowmed.api.prepare import prepare as build

    shards = [folder / f"s{number}of{of}" for number in range(1, of + 1)]
    build(str(folder / "table.jsonl"), folder / "merged", merge=shards)


def audit(folder: Path) -> None:
    from lowmed.api.audit import audit as run

    run(str(folder / "data"))


def load(folder: Path) -> None:
    from lowmed.data.load import load as read

    assert read("folder", str(folder / "data")).splits


def check(folder: Path) -> None:
    from lowmed.api.check import check as run
    from lowmed.recipe.io import load_recipe

    overrides = ["data.source=folder", f"data.path={folder / 'data'}"]
    run(load_recipe("rl-plain", overrides, nano=True))


def nothing(_folder: Path) -> None:
    import_module("lowmed.api.check")
    import_module("lowmed.data.load")


STEPS: dict[str, Callable[[Path], None]] = {
    "imports alone": nothing,
    "prepare": prepare,
    "audit": audit,
    "load": load,
    "check": check,
}
SHARD_STEPS: dict[str, Callable[[Path], None]] = {
    "prepare": prepare,
    **{f"shard {i}/{n}": partial(shard, number=i, of=n) for n in SHARDS for i in range(1, n + 1)},
    **{f"merge of {n}": partial(merge, of=n) for n in SHARDS},
}


def in_subprocess(step: str, folder: Path) -> dict[str, float]:
    """Seconds of the processor and peak memory in MiB of one step in a process of its own."""
    command = [sys.executable, __file__, "--once", step, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    seconds, mebibytes = map(float, output.split())
    print(f"{step:<14} {seconds:.2f} s  {mebibytes:.0f} MiB", flush=True)
    return {"seconds": round(seconds, 2), "peak_mib": round(mebibytes, 1)}


def once(step: str, folder: Path) -> None:
    started = time.process_time()
    (STEPS | SHARD_STEPS)[step](folder)
    seconds = time.process_time() - started
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def equal(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files, to the byte."""
    return subprocess.run(["diff", "-rq", first, second], check=False, capture_output=True).returncode == 0


@contextmanager
def source(rows: int, per_image: int, size: tuple[int, int], suffix: str) -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="lowmed-scale-"))
    os.environ["XDG_CONFIG_HOME"] = str(parent / "config")
    print(f"{rows:,} rows, {rows // per_image:,} images of {size[1]} x {size[0]}")
    try:
        generate(parent / "source", rows, per_image, size, suffix)
        yield parent / "source"
    finally:
        shutil.rmtree(parent)


def measure(rows: int) -> dict[str, Any]:
    with source(rows, PER_IMAGE, (64, 64), "png") as folder:
        steps = {step: in_subprocess(step, folder) for step in STEPS}
    return {"rows": rows, "images": rows // PER_IMAGE, "steps": steps}


def measure_shards() -> list[dict[str, Any]]:
    rows = []
    with source(SHARD_ROWS, 1, (560, 700), "jpg") as folder:
        alone = in_subprocess("prepare", folder)["seconds"]
        for of in SHARDS:
            slowest = max(in_subprocess(f"shard {number}/{of}", folder)["seconds"] for number in range(1, of + 1))
            merged = in_subprocess(f"merge of {of}", folder)["seconds"]
            assert equal(folder / "data", folder / "merged"), "the merge differs"
            shutil.rmtree(folder / "merged")
            total = slowest + merged
            rows.append({
                "shards": of, "rows": SHARD_ROWS, "prepare_s": alone, "slowest_shard_s": slowest, "merge_s": merged,
                "speedup": round(alone / total, 2), "equal": True,
            })  # fmt: skip
    return rows


def million(measured: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Each step at a million rows, by the slope between both sizes."""
    small, large = measured
    result = {}
    for step, figures in large["steps"].items():
        slopes = {
            key: (figures[key] - small["steps"][step][key]) / (large["rows"] - small["rows"])
            for key in ("seconds", "peak_mib")
        }
        result[step] = {
            key: round(figures[key] + slope * (MILLION - large["rows"]), 1) for key, slope in slopes.items()
        } | {"bytes_per_row": round(slopes["peak_mib"] * 2**20)}
    return result


def main() -> None:
    sizes = tuple(map(int, sys.argv[1:])) or SIZES
    measured = [measure(rows) for rows in sizes]
    estimate = million(measured)
    for step, figures in estimate.items():
        print(f"1,000,000 rows, estimated  {step:<14} {figures}")
    print(store("data_scale", {"measured": measured, "estimated_million": estimate, "shards": measure_shards()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        once(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
