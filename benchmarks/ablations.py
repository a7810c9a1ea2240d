"""The comparisons that the papers make, on the embedded model: three seeds an arm.

`python benchmarks/ablations.py FOLDER [--arms rarl,rl-plain]` trains what FOLDER does not hold yet, asks each adapter
the held-out phantom questions by the reasoning and by the direct prompt, and keeps one JSON file a run there;
`--table` reads them, stores `results/ablations.json` and prints the tables of docs/ablations.md.

An arm may start from the blind base: build it first with
`python -m lowmed.nano.build --base blind --out FOLDER/blind`.
"""

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from machine import store
from scipy import stats

SEEDS = (0, 1, 2)
INFER = ("reasoning", "direct")


@dataclass(frozen=True)
class Arm:
    """One way to train: verb, recipe, changed keys, and the arm whose adapter it starts from."""

    verb: str
    recipe: str
    changes: tuple[str, ...] = ()
    start: str = ""
    blind: bool = False


SHORT_SFT = ("method.updates=20",)
ARMS = {
    "rarl-sft": Arm("sft", "rarl-sft"),
    "rl-plain": Arm("grpo", "rl-plain"),
    "rarl": Arm("grpo", "rarl"),
    "rarl-one-wording": Arm("grpo", "rarl", ("prompts.train=reasoning",)),
    "zhu-base": Arm("grpo", "zhu-base"),
    "zhu-drgrpo": Arm("grpo", "zhu-drgrpo"),
    "zhu-ecr": Arm("grpo", "zhu-ecr"),
    "zhu-cwr": Arm("grpo", "zhu-cwr"),
    "weak-rl": Arm("grpo", "rl-plain", blind=True),
    "weak-sft": Arm("sft", "rarl-sft", SHORT_SFT, blind=True),
    "weak-sft-rl": Arm("grpo", "rl-plain", start="weak-sft", blind=True),
}


def lowmed(*arguments: str) -> str:
    command = [sys.executable, "-m", "lowmed", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def train(name: str, seed: int, folder: Path) -> Path:
    """The run of that arm and seed; trained unless it is there, after the one that it starts from."""
    arm, run = ARMS[name], folder / f"{name}-{seed}"
    changes = [*arm.changes, f"seed={seed}"]
    if arm.start:
        changes.append(f"lora.start={train(arm.start, seed, folder)}")
    if arm.blind:
        changes.append(f"model.name={folder / 'blind'}")
    if not (run / "adapter").exists():
        shutil.rmtree(run, ignore_errors=True)
        lowmed(arm.verb, "--recipe", arm.recipe, "--nano", *changes, "--out", str(run))
    return run


def ask(run: Path, infer: str, *, base: bool) -> dict[str, Any]:
    """Strict accuracies of the held-out questions, asked by that family: split -> who -> accuracy."""
    asked = run.with_name(f"{run.name}-{infer}")
    shutil.rmtree(asked, ignore_errors=True)
    shutil.copytree(run, asked, ignore=shutil.ignore_patterns("checkpoints", "evals"))
    recipe = yaml.safe_load((asked / "recipe.yaml").read_text())
    recipe["prompts"]["infer"] = infer
    (asked / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    report = json.loads(lowmed("eval", str(asked), "--controls", "0", "--json", *(["--base"] if base else [])))
    shutil.rmtree(asked)
    return {
        split: {who: found["strict"]["accuracy"] for who, found in part["results"].items()}
        for split, part in report["splits"].items()
    }


def measure(name: str, seed: int, folder: Path) -> None:
    """Train and ask, and keep what came of it."""
    kept = folder / f"{name}-{seed}.json"
    if kept.exists():
        return
    run = train(name, seed, folder)
    record = json.loads((run / "run.json").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = {
        "arm": name,
        "seed": seed,
        "recipe_digest": record["recipe_digest"],
        "train_s": record["seconds"],
        "tokens": rows[-1].get("tokens"),
        "strict": {infer: ask(run, infer, base=seed == SEEDS[0]) for infer in INFER},
    }
    kept.write_text(json.dumps(found, indent=2) + "\n")
    print(name, seed, json.dumps(found["strict"]), flush=True)


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % t interval over the seeds."""
    mean = sum(values) / len(values)
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1) if len(values) > 1 else float("nan")
    return mean, mean - half, mean + half


def table(folder: Path) -> str:
    """One row an arm: mean strict accuracy [95 % over seeds] by split and inference prompt."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*-[0-9].json"))]
    store("ablations", {"runs": runs})
    columns = [(split, infer) for split in ("test", "unseen") for infer in INFER]
    lines = ["| arm | seeds | " + " | ".join(f"{split}, {infer}" for split, infer in columns) + " | tokens |"]
    lines.append("| --- |" + " --- |" * (len(columns) + 2))
    for name in ARMS:
        found = [run for run in runs if run["arm"] == name]
        if found:
            cells = []
            for split, infer in columns:
                mean, low, high = interval([run["strict"][infer][split]["tuned"] for run in found])
                cells.append(f"{mean:.3f} [{low:.3f}, {high:.3f}]")
            tokens = [run["tokens"] for run in found if run["tokens"]]
            cells.append(f"{sum(tokens) / len(tokens):.0f}" if tokens else "")
            lines.append(f"| `{name}` | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arms", default=",".join(ARMS), help="comma-separated; default: all")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--table", action="store_true", help="only read what is there")
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not chosen.table:
        for seed in map(int, chosen.seeds.split(",")):
            for name in chosen.arms.split(","):
                measure(name, seed, folder)
    print(table(folder))


if __name__ == "__main__":
    main()
