"""The same recipes in one process and in several: how far their adapters are apart, and what many GPUs would gain.

`python benchmarks/processes.py FOLDER` trains the embedded model in FOLDER on the CPU, in one process and in several,
with equal forward passes. It writes results/processes.json and the tables of docs/scale.md. The table of many GPUs is
arithmetic: the planner's time for the share of one GPU, and the time to exchange the gradients.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import RESULTS, store
from page import put
from safetensors.torch import load_file

from lowmed import architectures
from lowmed.plan import cards
from lowmed.plan.estimate import estimate
from lowmed.recipe.io import load_recipe

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
STEPS = 10
# Name -> command and settings, with forward passes that divide among the processes.
TRAINED = {
    "SFT": "sft --recipe rarl-sft method.per_device_train_batch_size=4",
    "GRPO": "grpo --recipe rarl method.per_device_train_batch_size=16",
    "GRPO, dapo, KL term, dynamic sampling": "grpo --recipe rarl method.per_device_train_batch_size=16 "
    "method.loss_type=dapo method.beta=0.04 method.dynamic_sampling=2",
    "mDPO": "dpo --recipe mdpo data.pairs=pairs.jsonl method.per_device_train_batch_size=2",
    "KTO": "kto --recipe kto data.unpaired=unpaired.jsonl method.per_device_train_batch_size=2",
}
PROCESSES = (2, 4)
LINKS = {"PCIe 4, 10 GB/s": 10e9, "Ethernet, 10 Gb/s": 1.25e9, "Ethernet, 1 Gb/s": 0.125e9}
GPUS = (1, 2, 8, 64)
PROMPTS = 64  # of a step in the table of many GPUs, so that 64 GPUs have a prompt each


def lowmed(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lowmed", *arguments]
    if (code := subprocess.run(command, cwd=folder, env=environment, check=False).returncode) not in (0, 1):
        raise SystemExit(f"{' '.join(command)} ended with {code}")


def difference(one: Path, other: Path) -> dict[str, float]:
    """Largest and relative difference of the adapters, and completions that differ."""
    first, second = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (one, other))
    trained = [name for name in first if "lora_B" in name]
    squares = sum(float((first[name] - second[name]).pow(2).sum()) for name in trained)
    norm = sum(float(first[name].pow(2).sum()) for name in trained)
    figures = {
        "largest": max(float((first[name] - second[name]).abs().max()) for name in first),
        "relative": (squares / norm) ** 0.5,
    }
    if (one / "rollouts.jsonl").exists():
        pairs = zip(_completions(one), _completions(other), strict=True)
        figures |= {"completions": len(_completions(one)), "different": sum(a != b for a, b in pairs)}
    return figures


def _completions(run: Path) -> list[str]:
    return [json.loads(line)["completion"] for line in (run / "rollouts.jsonl").read_text().splitlines()]


def measure(folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "unpaired.jsonl").exists():
        lowmed(folder, "probe", "nano", "--on", "phantom", "--questions", "64", "--samples", "6", "--out", "probe")
        lowmed(folder, "data", "pairs", "probe", "--out", "pairs.jsonl")
        lowmed(folder, "data", "pairs", "probe", "--unpaired", "--out", "unpaired.jsonl")
    results: dict[str, Any] = {}
    for name, words in TRAINED.items():
        command, *rest = words.split()
        results[name] = {}
        for count in (1, *PROCESSES):
            out = f"{name.split(',')[0].lower()}{'-more' if ',' in name else ''}-{count}"
            if not (folder / out / "adapter").exists():
                settings = [*rest, "--nano", f"method.max_steps={STEPS}", "--processes", str(count), "--out", out]
                lowmed(folder, command, *settings)
            if count > 1:
                results[name][str(count)] = difference(folder / out.replace(f"-{count}", "-1"), folder / out)
    return results


def measured_table(results: dict[str, Any]) -> str:
    lines = ["| method | processes | largest difference of a weight | relative difference | completions |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for name, by_count in results.items():
        for count, figures in by_count.items():
            same = ""
            if "completions" in figures:
                same = f"{figures['completions'] - figures['different']} of {figures['completions']} equal"
            cells = [name, count, f"{figures['largest']:.1e}", f"{figures['relative']:.1e}", same]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def estimated_table(card_name: str = "A100-40") -> str:
    """Seconds of a step by the planner: those of the share of one GPU, and of the exchange of gradients."""
    card = cards.CARDS[card_name]
    recipe_of_all = load_recipe("rarl", [f"method.prompts_per_step={PROMPTS}"])
    model = architectures.read_architecture(recipe_of_all.model)
    adapter = 4 * 9.2e6
    lines = [f"| GPUs | sampling | training | step | speed-up | {' | '.join(LINKS)} | completions a second |"]
    lines.append("| --- " * (6 + len(LINKS)) + "|")
    first = 0.0
    for gpus in GPUS:
        recipe = load_recipe("rarl", [f"method.prompts_per_step={PROMPTS // gpus}"])
        time = estimate(recipe, model, card).time
        assert time
        first = first or time.step
        exchange = [2 * (gpus - 1) / gpus * adapter / speed for speed in LINKS.values()]
        step = time.step + exchange[0]
        rows = PROMPTS * recipe_of_all.method.completions_per_prompt
        cells = [f"{gpus}", f"{time.generate:.1f} s", f"{time.train:.1f} s", f"{step:.1f} s"]
        cells += [f"{first / step:.1f} x", *(f"{1000 * seconds:.0f} ms" for seconds in exchange), f"{rows / step:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="without it, only the tables are written again")
    folder = parser.parse_args().folder
    if folder:
        store("processes", {"steps": STEPS, "results": measure(folder)})
    put(PAGE, "processes", measured_table(json.loads((RESULTS / "processes.json").read_text())["results"]))
    put(PAGE, "gpus", estimated_table())


if __name__ == "__main__":
    main()
