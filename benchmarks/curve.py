"""Whether lowmed's GRPO learns what TRL's does: nano trained by both on the same questions, in pairs.

    python benchmarks/curve.py FOLDER                          what FOLDER does not hold yet, then the table
    python benchmarks/curve.py FOLDER --pairs 16bit-0,4bit-0   some pairs
    python benchmarks/curve.py FOLDER --pairs 16bit-0 --side trl
    python benchmarks/curve.py FOLDER --table                  only read what FOLDER holds

A pair has one seed, hence one adapter to begin with, the same questions in the same order and wordings, and the same
noise to draw completions from: the generator is set anew before each update's completions, because TRL's shuffle of the rows
takes numbers from it too. The recipe is `rarl`. TRL has its own defaults for all that the recipe does not name: it
checkpoints, it trains on groups that are settled, which lowmed leaves out, and it rounds the adapter of a 4-bit model
to bf16, which lowmed keeps in 32 bits. Then both adapters answer the same questions, held out from training.
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
from scipy import stats

from lowmed.files import write_json, write_text

PAIRS = tuple(f"{load_in}-{seed}" for load_in in ("16bit", "4bit") for seed in range(4))
SIDES = ("lowmed", "trl")
UPDATES = 40
HELD_OUT = 200
HEAD = """| base | seed | updates with the same replies | gradient norms within | reward, lowmed | TRL | difference | \
strict accuracy, lowmed | TRL | difference |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""

Found = dict[str, Any]


def train(name: str, side: str, updates: int) -> Found:
    """Train one side in this process, and have its adapter answer: each update's figures, and the strict accuracy."""
    from update_meter import same_noise
    from update_side import ours, theirs

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
    settings += [f"method.max_steps={updates}", f"method.save_steps={updates}"]  # TRL's own default is 8 rows
    recipe = load_recipe("rarl", settings, nano=True)
    data_split = split_data(load("phantom", None), recipe.data, recipe.seed)
    completions: list[list[int]] = []  # a checksum of each, by update

    def prepare(_model: Any) -> None:
        same_noise(lambda result: completions.append([zlib.crc32(str(ids).encode()) for ids in result]))

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if side == "lowmed":
            run = ours(recipe, data_split, folder, prepare)
            rows, adapter = run.rows("metrics.jsonl"), run.adapter
        else:
            rows = theirs(recipe, data_split, folder, prepare, side)
            adapter = folder / "adapter"
        correct = _correct(recipe, data_split, adapter)
    kept = [{each: row[each] for each in ("reward", "loss", "grad_norm")} for row in rows]
    return {"machine": about(), "side": side, "updates": kept, "replies": completions, "correct": correct}


def _correct(recipe: Any, data_split: Any, adapter: Path) -> list[bool]:
    """Of each held-out question whether the trained model's greedy completion is right, by the strict reading."""
    from lowmed.engine.evaluator import answerer
    from lowmed.evaluate.metrics import prediction, scored

    asked = data_split.held_out["test"][:HELD_OUT]
    answer = answerer(recipe.model, adapter, recipe.prompts.asking, recipe.eval.max_new_tokens)
    result = answer(asked, data_split.open_image, copies=1, temperature=0.0)
    rows = [prediction(each.sample, "test", each.completion, each.tokens, each.finish_reason) for each in result]
    right = {row["id"]: row["strict_outcome"] == "correct" for row in scored(rows)}
    return [right[sample.id] for sample in asked]


def pair(name: str, ours: Found, other: Found) -> Found:
    """What is kept of a pair: both curves, and the share of completions that are the same, by update."""
    same = [
        sum(one == two for one, two in zip(*each, strict=True)) / len(each[0])
        for each in zip(ours["replies"], other["replies"], strict=True)
    ]
    sides = {
        result["side"]: {
            **{each: [round(row[each], 6) for row in result["updates"]] for each in result["updates"][0]},
            "strict_accuracy": sum(result["correct"]) / len(result["correct"]),
        }
        for result in (ours, other)
    }
    return {"name": name, "machine": ours["machine"], "same_replies": same, "sides": sides}


def table(pairs: list[Found]) -> str:
    """One row a pair, and one a base with the mean differences and their intervals over its seeds."""
    lines = [HEAD]
    for base in dict.fromkeys(each["name"].partition("-")[0] for each in pairs):
        mine = [each for each in pairs if each["name"].startswith(base)]
        sides = [[each["sides"][name] for name in SIDES] for each in mine]
        rewards = [_thirds(ours["reward"])[1] - _thirds(other["reward"])[1] for ours, other in sides]
        accuracies = [ours["strict_accuracy"] - other["strict_accuracy"] for ours, other in sides]
        lines += [_row(*each) for each in zip(mine, rewards, accuracies, strict=True)]
        lines.append(f"| {base} | mean | | | | | {interval(rewards)} | | | {interval(accuracies)} |")
    return "\n".join(lines)


def interval(values: list[float]) -> str:
    """Mean [95 % t interval over the seeds]."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:+.3f}"
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def _row(result: Found, reward: float, accuracy: float) -> str:
    base, _, seed = result["name"].partition("-")
    ours, other = (result["sides"][name] for name in SIDES)
    same = [share == 1 for share in result["same_replies"]]
    apart = [abs(one - two) for one, two in zip(ours["grad_norm"], other["grad_norm"], strict=True)]
    within = max((norm for norm, alike in zip(apart, same, strict=True) if alike), default=float("nan"))
    curves = [" to ".join(f"{mean:.3f}" for mean in _thirds(side["reward"])) for side in (ours, other)]
    right = [f"{side['strict_accuracy']:.3f}" for side in (ours, other)]
    alike = f"{sum(same)} of {len(same)}"
    return update_table.row([base, seed, alike, f"{within:.5f}", *curves, f"{reward:+.3f}", *right, f"{accuracy:+.3f}"])


def _thirds(rewards: list[float]) -> list[float]:
    third = len(rewards) // 3
    return [sum(part) / third for part in (rewards[:third], rewards[-third:])]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--pairs", default=",".join(PAIRS))
    asked.add_argument("--side", choices=SIDES, help="default: both")
    asked.add_argument("--updates", type=int, default=UPDATES)
    asked.add_argument("--table", action="store_true")
    asked.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # train one side in this process
    given = asked.parse_args()
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    if given.here:
        result = train(given.pairs, given.side, given.updates)
        write_text(folder / f"{given.pairs}-{given.side}.json", json.dumps(result))
        return
    failed: list[str] = []
    for name in [] if given.table else given.pairs.split(","):
        for side in [given.side] if given.side else SIDES:
            if not (folder / f"{name}-{side}.json").exists():
                command = [sys.executable, __file__, str(folder), "--here", "--pairs", name, "--side", side]
                ended = subprocess.run([*command, "--updates", str(given.updates)], check=False)
                failed += [f"{name} {side}"] if ended.returncode else []
    result = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    pairs = [
        pair(name, *(result[f"{name}-{side}"] for side in SIDES))
        for name in PAIRS
        if all(f"{name}-{side}" in result for side in SIDES)
    ]
    if pairs and not given.side:
        write_json(RESULTS / "curve-cpu.json", {"pairs": pairs})
        update_table.put("curve cpu", f"{table(pairs)}\n\n{update_table.measured_on(pairs)}")
        print(table(pairs))
    if failed:
        raise SystemExit(f"not trained: {', '.join(failed)}")


if __name__ == "__main__":
    main()
