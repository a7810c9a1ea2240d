"""Time and memory of data at two sizes, and what they mean for a million rows: `python benchmarks/data_scale.py`.

Rows are generated: four questions an image, noise of 64 x 64 pixels as PNG, one patient for two images. Each step runs
in a process of its own, whose peak memory is its own. Four shards are prepared one after the other on one core each, so
that the slowest of them, and the merge, are what four processes on four cores would take. A million rows are not
measured: the larger size is extended by the slope between both.
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
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from machine import store
from PIL import Image

SIZES = (10_000, 100_000)
MILLION = 1_000_000
PER_IMAGE, IMAGES_PER_PATIENT, SHARDS = 4, 2, 4
FINDINGS = ("effusion", "mass", "fracture", "nodule")


def generate(folder: Path, rows: int) -> None:
    (folder / "scans").mkdir(parents=True)
    with (folder / "table.jsonl").open("w") as table:
        for image in range(rows // PER_IMAGE):
            name = f"scans/{image:07}.png"
            pixels = np.random.default_rng(image).integers(0, 256, (64, 64), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name, compress_level=1)
            for number, finding in enumerate(FINDINGS):
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


def shard(folder: Path, number: int) -> None:
    from lowmed.api.prepare_shard import prepare_shard

    prepare_shard(str(folder / "table.jsonl"), folder / f"s{number}", f"{number}/{SHARDS}")


def merge(folder: Path) -> None:
    from lowmed.api.prepare import prepare as build

    shards = [folder / f"s{number}" for number in range(1, SHARDS + 1)]
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
    **{f"shard {number}/{SHARDS}": partial(shard, number=number) for number in range(1, SHARDS + 1)},
    "merge": merge,
    "audit": audit,
    "load": load,
    "check": check,
}


def in_subprocess(step: str, folder: Path, cores: int | None) -> dict[str, float]:
    """Seconds and peak memory in MiB of one step in a process of its own."""
    pinned = ["taskset", "--cpu-list", "0"] if cores == 1 else []
    command = [*pinned, sys.executable, __file__, "--once", step, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    seconds, mebibytes = map(float, output.split())
    return {"seconds": round(seconds, 2), "peak_mib": round(mebibytes, 1)}


def once(step: str, folder: Path) -> None:
    started = time.perf_counter()
    STEPS[step](folder)
    seconds = time.perf_counter() - started
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def equal(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files, to the byte."""
    return subprocess.run(["diff", "-rq", first, second], check=False, capture_output=True).returncode == 0


def measure(rows: int) -> dict[str, Any]:
    parent = Path(tempfile.mkdtemp(prefix="lowmed-scale-"))
    os.environ["XDG_CONFIG_HOME"] = str(parent / "config")
    try:
        folder = parent / "source"
        generate(folder, rows)
        steps = {}
        for step in STEPS:
            one_core = step in ("prepare", "merge") or step.startswith("shard")
            steps[step] = in_subprocess(step, folder, 1 if one_core else None)
            print(f"{rows:,} rows  {step:<14} {steps[step]}", flush=True)
        same = equal_before_audit(folder)
        assert same, "the merge differs"
        return {"rows": rows, "images": rows // PER_IMAGE, "steps": steps, "merge_equals_prepare": same}
    finally:
        shutil.rmtree(parent)


def equal_before_audit(folder: Path) -> bool:
    """Whether merge and import are equal; the audit adds its own files to one of them."""
    for path in (folder / "data").glob("audit*"):
        path.unlink()
    return equal(folder / "data", folder / "merged")


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
    print(store("data_scale", {"measured": measured, "estimated_million": estimate}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        once(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
