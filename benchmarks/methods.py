"""Methods compared on the embedded model, with three seeds for each arm: accuracy, use of the image, reward hacks.

`python benchmarks/methods.py FOLDER [--arms gspo,dapo]` trains the runs that are missing in FOLDER, evaluates them with
the prompt `reasoning` and the control `shuffled`, and writes one JSON file for each run. `--table` adds these files to
`results/methods.json` and updates the tables of docs/ablations.md.

The arms `weak-*` start from the blind base. Build it first: `python -m lowmed.nano.build --base blind --out
FOLDER/blind`.
"""

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any, cast

from machine import store
from page import interval, put

from lowmed.nano import phantom
from lowmed.rewards.hacks import detect_hacks

SEEDS = (0, 1, 2)
SPLITS = ("test", "unseen")
PAGE = Path(__file__).parent.parent / "docs" / "ablations.md"
RESULTS = Path(__file__).parent / "results" / "methods.json"
CONTROLS = "400"  # half of the held-out questions
TWICE = ("method.num_iterations=2", "method.loss_type=grpo")
SELF = ("data distil phantom --by nano {folder}/self",)
DISTILLED = ("data.source=folder", "data.path={folder}/self", "data.split_by=image")
PAIRS = (
    "probe nano --on phantom --questions 400 --samples 8 {folder}/probe",
    "data pairs {folder}/probe {folder}/pairs.jsonl",
)
UNPAIRED = ("data.unpaired={folder}/unpaired.jsonl",)
LABELS = (PAIRS[0], "data pairs {folder}/probe --unpaired {folder}/unpaired.jsonl")


@dataclass(frozen=True)
class Arm:
    """A way to train: command, recipe and changed keys. `{folder}` stands for the folder of the runs.

    Attributes:
        prepare: commands that are run once for all seeds; the last word of each is what it makes, by `--out`.
        blind: whether it starts from the blind base.
    """

    command: str
    recipe: str
    changes: tuple[str, ...] = ()
    prepare: tuple[str, ...] = field(default=())
    blind: bool = False


ARMS = {
    "rl-plain": Arm("grpo", "rl-plain"),
    "rarl-sft": Arm("sft", "rarl-sft"),
    "distil-sft": Arm("sft", "rarl-sft", DISTILLED, SELF),
    "distil-rarl": Arm("grpo", "rarl", DISTILLED, SELF),
    "dpo": Arm("dpo", "dpo", ("data.pairs={folder}/pairs.jsonl",), PAIRS),
    "mdpo": Arm("dpo", "mdpo", ("data.pairs={folder}/pairs.jsonl",), PAIRS),
    "simpo": Arm("dpo", "simpo", ("data.pairs={folder}/pairs.jsonl",), PAIRS),
    "kto": Arm("kto", "kto", UNPAIRED, LABELS),
    "kto-long": Arm("kto", "kto", (*UNPAIRED, "method.learning_rate=1e-5", "method.epochs=3"), LABELS),
    "capo": Arm("grpo", "capo"),
    "dapo": Arm("grpo", "rl-plain", ("method.dynamic_sampling=2",)),
    "grpo-twice": Arm("grpo", "rl-plain", TWICE),
    "gspo": Arm("grpo", "gspo"),
    "gspo-wide": Arm("grpo", "gspo", ("method.epsilon=0.03", "method.epsilon_high=0.04")),
    "luffy": Arm("grpo", "luffy"),
    "chord": Arm("grpo", "chord"),
    "weak-rl": Arm("grpo", "rl-plain", blind=True),
    "weak-sft": Arm("sft", "rarl-sft", blind=True),
    "weak-luffy": Arm("grpo", "luffy", blind=True),
    "weak-chord": Arm("grpo", "chord", blind=True),
}

COMPARED = (
    ("`distil-sft` - `rarl-sft`: own right completions against reference explanations", "distil-sft", "rarl-sft"),
    ("`distil-rarl` - `rl-plain`: RL with the reasoning reward on them", "distil-rarl", "rl-plain"),
    ("`dpo` - `rl-plain`: pairs of a probe against RL", "dpo", "rl-plain"),
    ("`mdpo` - `dpo`: the terms of the image and of the anchor", "mdpo", "dpo"),
    ("`kto-long` - `dpo`: all labeled completions of the same probe, one by one", "kto-long", "dpo"),
    ("`capo` - `rl-plain`: reasoning that depends on the image is rewarded", "capo", "rl-plain"),
    ("`dapo` - `rl-plain`: replaced groups", "dapo", "rl-plain"),
    ("`gspo` - `grpo-twice`: one ratio per completion, the paper's bounds", "gspo", "grpo-twice"),
    ("`gspo-wide` - `grpo-twice`: the same, bounds 100 times wider", "gspo-wide", "grpo-twice"),
    ("`luffy` - `rl-plain`: references in the groups", "luffy", "rl-plain"),
    ("`chord` - `rl-plain`: from SFT to RL", "chord", "rl-plain"),
    ("`weak-luffy` - `weak-rl`: the same, without support", "weak-luffy", "weak-rl"),
    ("`weak-luffy` - `weak-sft`", "weak-luffy", "weak-sft"),
    ("`weak-chord` - `weak-rl`", "weak-chord", "weak-rl"),
)


def lowmed(*arguments: str) -> str:
    command = [sys.executable, "-m", "lowmed", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


Runs = dict[str, list[dict[str, Any]]]  # arm -> its runs by seed


def train(name: str, seed: int, folder: Path) -> Path:
    """The run of an arm and seed; it is trained if it is missing."""
    arm, run = ARMS[name], folder / f"{name}-{seed}"
    for command in arm.prepare:
        *words, made = command.replace("{folder}", str(folder)).split()
        if not Path(made).exists():
            lowmed(*words, "--out", made)
    changes = [change.replace("{folder}", str(folder)) for change in arm.changes]
    if arm.blind:
        changes.append(f"model.name={folder / 'blind'}")
    if not (run / "adapter").exists():
        shutil.rmtree(run, ignore_errors=True)
        options = ["prompts.train=reasoning", f"seed={seed}", "--out", str(run)]
        lowmed(arm.command, "--recipe", arm.recipe, "--nano", *changes, *options)
    return run


def measure(name: str, seed: int, folder: Path) -> None:
    """Train and evaluate an arm, and write its JSON file."""
    path = folder / f"{name}-{seed}.json"
    if path.exists():
        return
    run = train(name, seed, folder)
    with_base = seed == SEEDS[0] and name in ("rl-plain", "weak-rl")
    options = ["--controls", CONTROLS, "--json", *(["--with-base"] if with_base else [])]
    report = json.loads(lowmed("eval", str(run), *options))
    record = json.loads((run / "run.json").read_text())
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shares = [step["trained_share"] for step in steps if "trained_share" in step]  # of steps that sample
    result = {
        "arm": name,
        "seed": seed,
        "recipe_digest": record["recipe_digest"],
        "train_s": record["seconds"],
        "tokens": steps[-1].get("tokens"),
        "trained_share": mean(shares) if shares else None,
        "extra_completions": sum(step.get("extra_completions", 0) for step in steps),
        "strict": {
            split: {system: part["strict"]["accuracy"] for system, part in report["splits"][split]["results"].items()}
            for split in SPLITS
        },
        "reliance": report["controls"]["tuned"]["shuffled"]["strict"]["effect"],
        "hacks": hacks(run),
    }
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(name, seed, json.dumps(result["strict"]), result["reliance"], flush=True)


def hacks(run: Path) -> float:
    """The share of the tuned model's completions to the test questions that look like a known reward hack."""
    samples = {sample.id: sample for split in SPLITS for sample in phantom.samples(cast("phantom.Split", split), 600)}
    [file] = (run / "evals").glob("*/tuned.jsonl")
    rows = [row for line in file.read_text().splitlines() if (row := json.loads(line))["id"] in samples]
    return mean(bool(detect_hacks(samples[row["id"]], row["completion"], "think_answer")) for row in rows)


def arms(runs: Runs) -> list[str]:
    """One row for each arm, with the values of each seed."""
    columns = ("test", "unseen", "reliance", "hacks", "trained rows", "training")
    lines = ["| arm | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name, arm in (("shipped base", "rl-plain"), ("weak base", "weak-rl")):
        for run in runs.get(arm, [])[:1]:
            cells = [f"{run['strict'][split]['base']:.3f}" for split in SPLITS]
            lines.append(f"| {name} | " + " | ".join(cells) + " | | | | |")
    for name, result in runs.items():
        cells = [" ".join(f"{run['strict'][split]['tuned']:.3f}" for run in result) for split in SPLITS]
        cells.append(" ".join(f"{run['reliance']:.3f}" for run in result))
        cells.append(" ".join(f"{run['hacks']:.3f}" for run in result))
        cells.append(" ".join(f"{run['trained_share']:.2f}" for run in result if run["trained_share"] is not None))
        cells.append(" ".join(f"{run['train_s']:.0f} s" for run in result))
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return lines


def differences(runs: Runs) -> list[str]:
    """One row for each comparison: mean and interval of the differences within each seed."""
    lines = ["| comparison | test | unseen modality | reliance |", "| --- | --- | --- | --- |"]
    for label, one, other in COMPARED:
        if one in runs and other in runs:
            pairs = list(zip(runs[one], runs[other], strict=False))
            cells = [
                interval([a["strict"][split]["tuned"] - b["strict"][split]["tuned"] for a, b in pairs])
                for split in SPLITS
            ]
            cells.append(interval([a["reliance"] - b["reliance"] for a, b in pairs]))
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def publish(folder: Path) -> None:
    """Store the results, and update the tables of the page."""
    known = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    stored = {(run["arm"], run["seed"]): run for run in known}
    for path in sorted(folder.glob("*-[0-9].json")):
        run = json.loads(path.read_text())
        stored[run["arm"], run["seed"]] = run
    runs = {name: result for name in ARMS if (result := [stored[name, s] for s in SEEDS if (name, s) in stored])}
    store("methods", {"runs": list(stored.values())})
    put(PAGE, "methods", "\n".join(arms(runs)))
    put(PAGE, "method differences", "\n".join(differences(runs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arms", default=",".join(ARMS), help="comma-separated; default: all")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--table", action="store_true", help="read stored results only")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if options.table:
        publish(folder)
        return
    for seed in map(int, options.seeds.split(",")):
        for name in options.arms.split(","):
            measure(name, seed, folder)


if __name__ == "__main__":
    main()
