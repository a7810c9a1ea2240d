"""Compares what lowmed's GRPO and TRL's learn: pairs of runs of nano on the same questions.

    python benchmarks/curve.py FOLDER                          runs that are missing in FOLDER, then the table
    python benchmarks/curve.py FOLDER --pairs 16bit-0,4bit-0   some pairs
    python benchmarks/curve.py FOLDER --pairs 16bit-0 --side trl
    python benchmarks/curve.py FOLDER --table                  read FOLDER only

The runs of a pair have the same seed. So they have the same starting adapter, the same questions in the same order and
wordings, and the same random numbers for sampling: the generator is seeded before each step's completions, because TRL
also uses it to shuffle rows. The recipe is `rarl`, and TRL has its defaults for everything else: gradient
checkpointing, training on zero-variance groups, which lowmed skips, and a bf16 adapter for a 4-bit model, which lowmed
keeps in 32 bits. Then both adapters answer the same held-out questions.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import update_table
from machine import RESULTS, about
from page import interval, put

from lowmed.files import write_json, write_text

PAIRS = tuple(f"{load_in}-{seed}" for load_in in ("16bit", "4bit") for seed in range(4))
SIDES = ("lowmed", "trl")
UPDATES = 40
HELD_OUT = 200
HEAD = """| base | seed | steps with equal completions | gradient norms within | reward, lowmed | TRL | difference | \
strict accuracy, lowmed | TRL | difference |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""

Json = dict[str, Any]


def train(name: str, side: str, updates: int) -> Json:
    """Train and evaluate one side in this process: metrics and completions of each step, and graded answers."""
    from update_meter import seed_sampling
    from update_side import train_with_lowmed, train_with_trl

    from lowmed.data.load import load
    from lowmed.data.split import split_data
    from lowmed.recipe.io import load_recipe

    load_in, _, seed = name.partition("-")
    settings = [
        f"model.load_in={load_in}",
        f"seed={seed}",
        "data.split_by=official",
        "method.per_device_train_batch_size=8",
    ]
    settings += [f"method.max_steps={updates}", f"method.save_steps={updates}"]  # 8 rows are the default of TRL
    recipe = load_recipe("rarl", settings, nano=True)
    data_split = split_data(load("phantom", None), recipe.data, recipe.seed)
    completions: list[list[int]] = []  # a checksum of each, by step

    def prepare(_model: Any) -> None:
        seed_sampling(lambda sampled: completions.append([zlib.crc32(str(ids).encode()) for ids in sampled]))

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if side == "lowmed":
            run = train_with_lowmed(recipe, data_split, folder, prepare)
            rows, adapter = run.rows("metrics.jsonl"), run.adapter
        else:
            rows = train_with_trl(recipe, data_split, folder, prepare, side)
            adapter = folder / "adapter"
        correct = _correct(recipe, data_split, adapter)
    metrics = [{name: row[name] for name in ("reward", "loss", "grad_norm")} for row in rows]
    return {"machine": about(), "side": side, "updates": metrics, "completions": completions, "correct": correct}


def _correct(recipe: Any, data_split: Any, adapter: Path) -> list[bool]:
    """For each held-out question whether the model's greedy completion is right by strict grading."""
    from lowmed.engine.evaluator import answerer
    from lowmed.evaluation.metrics import prediction, scored

    samples = data_split.held_out["test"][:HELD_OUT]
    answer = answerer(recipe.model, adapter, recipe.prompts.asking, recipe.eval.max_new_tokens)
    completions = answer(samples, data_split.open_image, copies=1, temperature=0.0)
    rows = [prediction(one.sample, "test", one.completion, one.tokens, one.finish_reason) for one in completions]
    right = {row["id"]: row["strict_outcome"] == "correct" for row in scored(rows)}
    return [right[sample.id] for sample in samples]


def pair(name: str, ours: Json, other: Json) -> Json:
    """The stored result of a pair: both curves, and the share of equal completions by step."""
    same = [
        sum(one == two for one, two in zip(*of_step, strict=True)) / len(of_step[0])
        for of_step in zip(ours["completions"], other["completions"], strict=True)
    ]
    sides = {
        result["side"]: {
            **{name: [round(row[name], 6) for row in result["updates"]] for name in result["updates"][0]},
            "strict_accuracy": sum(result["correct"]) / len(result["correct"]),
        }
        for result in (ours, other)
    }
    return {"name": name, "machine": ours["machine"], "same_completions": same, "sides": sides}


def table(pairs: list[Json]) -> str:
    """One row for each pair, and one for each base with mean differences and their intervals over seeds."""
    lines = [HEAD]
    for base in dict.fromkeys(each["name"].partition("-")[0] for each in pairs):
        of_base = [each for each in pairs if each["name"].startswith(base)]
        sides = [[each["sides"][name] for name in SIDES] for each in of_base]
        rewards = [_thirds(ours["reward"])[1] - _thirds(other["reward"])[1] for ours, other in sides]
        accuracies = [ours["strict_accuracy"] - other["strict_accuracy"] for ours, other in sides]
        lines += [_row(*each) for each in zip(of_base, rewards, accuracies, strict=True)]
        lines.append(f"| {base} | mean | | | | | {interval(rewards)} | | | {interval(accuracies)} |")
    return "\n".join(lines)


def _row(result: Json, reward: float, accuracy: float) -> str:
    base, _, seed = result["name"].partition("-")
    ours, other = (result["sides"][name] for name in SIDES)
    same = [share == 1 for share in result["same_completions"]]
    differences = [abs(one - two) for one, two in zip(ours["grad_norm"], other["grad_norm"], strict=True)]
    within = max((norm for norm, alike in zip(differences, same, strict=True) if alike), default=float("nan"))
    curves = [" to ".join(f"{mean:.3f}" for mean in _thirds(side["reward"])) for side in (ours, other)]
    right = [f"{side['strict_accuracy']:.3f}" for side in (ours, other)]
    alike = f"{sum(same)} of {len(same)}"
    return update_table.row([base, seed, alike, f"{within:.5f}", *curves, f"{reward:+.3f}", *right, f"{accuracy:+.3f}"])


def _thirds(rewards: list[float]) -> list[float]:
    third = len(rewards) // 3
    return [sum(part) / third for part in (rewards[:third], rewards[-third:])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", default=",".join(PAIRS))
    parser.add_argument("--side", choices=SIDES, help="default: both")
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # train one side in this process
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    if options.here:
        result = train(options.pairs, options.side, options.updates)
        write_text(folder / f"{options.pairs}-{options.side}.json", json.dumps(result))
        return
    failed: list[str] = []
    for name in [] if options.table else options.pairs.split(","):
        for side in [options.side] if options.side else SIDES:
            if not (folder / f"{name}-{side}.json").exists():
                command = [sys.executable, __file__, str(folder), "--here", "--pairs", name, "--side", side]
                ended = subprocess.run([*command, "--updates", str(options.updates)], check=False)
                failed += [f"{name} {side}"] if ended.returncode else []
    result = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    pairs = [
        pair(name, *(result[f"{name}-{side}"] for side in SIDES))
        for name in PAIRS
        if all(f"{name}-{side}" in result for side in SIDES)
    ]
    if pairs and not options.side:
        write_json(RESULTS / "curve-cpu.json", {"pairs": pairs})
        put(update_table.PAGE, "curve cpu", f"{table(pairs)}\n\n{update_table.measured_on(pairs)}")
        print(table(pairs))
    if failed:
        raise SystemExit(f"not trained: {', '.join(failed)}")


if __name__ == "__main__":
    main()
