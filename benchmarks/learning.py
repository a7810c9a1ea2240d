"""Whether the recipes really learn: GRPO and SFT of the embedded model, three seeds each.

`python benchmarks/learning.py` trains six adapters, evaluates each beside the base on all held-out phantom samples, and
stores accuracies with intervals, times and peak memory. About half an hour on two cores.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import store

SEEDS = (0, 1, 2)
RECIPES = (("grpo", "rarl"), ("sft", "rarl-sft"))


def lowmed(*arguments: str) -> str:
    command = [sys.executable, "-m", "lowmed", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(kind: str, recipe: str, seed: int, folder: Path) -> dict[str, Any]:
    run = folder / f"{recipe}-{seed}"
    began = time.monotonic()
    lowmed(kind, "--recipe", recipe, "--nano", f"seed={seed}", "--out", str(run))
    report = json.loads(lowmed("eval", str(run), "--base", "--json"))
    record = json.loads((run / "run.json").read_text())
    return {
        "recipe": recipe,
        "seed": seed,
        "train_s": record["seconds"],
        "whole_s": round(time.monotonic() - began, 1),
        "peak_gib": record["peak_gib"],
        "splits": {
            split: {
                "questions": part["questions"],
                "no_image_floor": part["no_image_floor"],
                **{
                    who: {
                        "strict": found["strict"]["accuracy"],
                        "wilson": found["strict"]["wilson"],
                        "lenient": found["lenient"]["accuracy"],
                    }
                    for who, found in part["results"].items()
                },
            }
            for split, part in report["splits"].items()
        },
    }


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, recipe in RECIPES:
            for seed in SEEDS:
                rows.append(measure(kind, recipe, seed, Path(folder)))
                shown = rows[-1]["splits"]
                line = [
                    f"{split} {part['base']['strict']:.3f} -> {part['tuned']['strict']:.3f}"
                    for split, part in shown.items()
                ]
                print(f"{recipe} seed {seed}: {', '.join(line)}; {rows[-1]['train_s']:.0f} s", flush=True)
    print(store("learning", {"runs": rows}))


if __name__ == "__main__":
    main()
