"""The comparisons of the papers on the embedded model, with three seeds for each arm.

`python benchmarks/ablations.py FOLDER [--arms rarl,rl-plain]` trains the runs that are missing in FOLDER. It evaluates
each adapter on held-out phantom questions with the reasoning and the direct prompt, and writes one JSON file for each
run. `--table` reads these files, writes `results/ablations.json` and updates the tables of docs/ablations.md.

Some arms start from the blind base. Build it first: `python -m lowmed.nano.build --base blind --out FOLDER/blind`.
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
from page import interval, put

SEEDS = (0, 1, 2)
INFER = ("reasoning", "direct")
SPLITS = ("test", "unseen")
PAGE = Path(__file__).parent.parent / "docs" / "ablations.md"


@dataclass(frozen=True)
class Arm:
    """A way to train: command, recipe, changed keys, and the arm whose adapter it starts from."""

    command: str
    recipe: str
    changes: tuple[str, ...] = ()
    start: str = ""
    blind: bool = False


SHORT_SFT = ("method.max_steps=20",)
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

COMPARED = (
    ("`rl-plain` - `rarl-sft`: RL against SFT", "rl-plain", "rarl-sft", INFER),
    ("`rarl` - `rarl-sft`", "rarl", "rarl-sft", INFER),
    ("`rarl` - `rl-plain`: reasoning reward and several wordings", "rarl", "rl-plain", INFER),
    ("`rarl` - `rarl-one-wording`: several wordings in training", "rarl", "rarl-one-wording", INFER),
    ("`zhu-drgrpo` - `zhu-base`: Dr.GRPO", "zhu-drgrpo", "zhu-base", INFER[:1]),
    ("`zhu-ecr` - `zhu-base`: length rewarded", "zhu-ecr", "zhu-base", INFER[:1]),
    ("`zhu-cwr` - `zhu-base`: length rewarded if right", "zhu-cwr", "zhu-base", INFER[:1]),
    ("`weak-sft` - `weak-rl`: without support, SFT against RL", "weak-sft", "weak-rl", INFER[:1]),
    ("`weak-sft-rl` - `weak-sft`: RL after SFT", "weak-sft-rl", "weak-sft", INFER[:1]),
    ("`weak-sft-rl` - `weak-rl`: SFT first, then the same RL", "weak-sft-rl", "weak-rl", INFER[:1]),
)


def lowmed(*arguments: str) -> str:
    command = [sys.executable, "-m", "lowmed", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def train(name: str, seed: int, folder: Path) -> Path:
    """The run of an arm and seed. It is trained if missing, after the arm that it starts from."""
    arm, run = ARMS[name], folder / f"{name}-{seed}"
    changes = [*arm.changes, f"seed={seed}"]
    if arm.start:
        changes.append(f"lora.start={train(arm.start, seed, folder)}")
    if arm.blind:
        changes.append(f"model.name={folder / 'blind'}")
    if not (run / "adapter").exists():
        shutil.rmtree(run, ignore_errors=True)
        lowmed(arm.command, "--recipe", arm.recipe, "--nano", *changes, "--out", str(run))
    return run


def evaluate(run: Path, infer: str, *, base: bool) -> dict[str, Any]:
    """Strict accuracies on the held-out questions with a prompt family: split -> model -> accuracy."""
    copy = run.with_name(f"{run.name}-{infer}")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("checkpoints", "evals"))
    recipe = yaml.safe_load((copy / "recipe.yaml").read_text())
    recipe["prompts"]["infer"] = infer
    (copy / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    report = json.loads(lowmed("eval", str(copy), "--controls", "0", "--json", *(["--with-base"] if base else [])))
    shutil.rmtree(copy)
    return {
        split: {name: result["strict"]["accuracy"] for name, result in part["results"].items()}
        for split, part in report["splits"].items()
    }


def measure(name: str, seed: int, folder: Path) -> None:
    """Train and evaluate an arm, and write its JSON file."""
    path = folder / f"{name}-{seed}.json"
    if path.exists():
        return
    run = train(name, seed, folder)
    record = json.loads((run / "run.json").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    result = {
        "arm": name,
        "seed": seed,
        "recipe_digest": record["recipe_digest"],
        "train_s": record["seconds"],
        "tokens": rows[-1].get("tokens"),
        "strict": {infer: evaluate(run, infer, base=seed == SEEDS[0]) for infer in INFER},
    }
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(name, seed, json.dumps(result["strict"]), flush=True)


Runs = dict[str, list[dict[str, Any]]]  # arm -> its runs by seed


def accuracy(run: dict[str, Any], infer: str, split: str, model: str = "tuned") -> float:
    result: float = run["strict"][infer][split][model]
    return result


def arms(runs: Runs) -> list[str]:
    """One row for each arm: strict accuracy of each seed, by split and inference prompt."""
    columns = [(split, infer) for split in SPLITS for infer in INFER]
    lines = ["| arm | " + " | ".join(f"{split}, {infer}" for split, infer in columns) + " | tokens | training |"]
    lines.append("| --- |" + " --- |" * (len(columns) + 2))

    def row(name: str, cells: list[str], tokens: str, seconds: str) -> None:
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {tokens} | {seconds} |")

    for name, arm in (("shipped base", "rarl"), ("weak base", "weak-rl")):
        first = runs.get(arm, [])[:1]
        for run in first:
            row(name, [f"{accuracy(run, infer, split, 'base'):.3f}" for split, infer in columns], "", "")
    for name, result in runs.items():
        cells = [" ".join(f"{accuracy(run, infer, split):.3f}" for run in result) for split, infer in columns]
        tokens = [run["tokens"] for run in result if run["tokens"]]
        row(
            f"`{name}`",
            cells,
            " ".join(f"{each:.0f}" for each in tokens),
            " ".join(f"{run['train_s']:.0f} s" for run in result),
        )
    return lines


def differences(runs: Runs) -> list[str]:
    """One row for each comparison: mean and interval of the differences within each seed."""
    lines = ["| comparison | prompt | test | unseen modality |", "| --- | --- | --- | --- |"]
    for label, one, other, families in COMPARED:
        if one in runs and other in runs:
            for infer in families:
                cells = [
                    interval(
                        [accuracy(a, infer, split) - accuracy(b, infer, split)
                         for a, b in zip(runs[one], runs[other], strict=False)]
                    )
                    for split in SPLITS
                ]  # fmt: skip
                lines.append(f"| {label} | {infer} | " + " | ".join(cells) + " |")
    for name in ("rarl", "rarl-one-wording", "rl-plain", "rarl-sft"):
        cells = [
            interval([accuracy(run, "reasoning", split) - accuracy(run, "direct", split) for run in runs.get(name, [])])
            for split in SPLITS
            if name in runs
        ]
        if cells:
            lines.append(f"| `{name}`: reasoning prompt - direct prompt | | " + " | ".join(cells) + " |")
    return lines


def publish(folder: Path) -> None:
    """Store the results, and update the tables of the page."""
    stored = [json.loads(path.read_text()) for path in sorted(folder.glob("*-[0-9].json"))]
    runs = {name: result for name in ARMS if (result := [run for run in stored if run["arm"] == name])}
    store("ablations", {"runs": stored})
    put(PAGE, "arms", "\n".join(arms(runs)))
    put(PAGE, "differences", "\n".join(differences(runs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arms", default=",".join(ARMS), help="comma-separated; default: all")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--table", action="store_true", help="read stored results only")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not options.table:
        for seed in map(int, options.seeds.split(",")):
            for name in options.arms.split(","):
                measure(name, seed, folder)
    publish(folder)


if __name__ == "__main__":
    main()
