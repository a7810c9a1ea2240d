"""One step of gpu_first.py: `python gpu_first_steps.py NAME MODEL_FOLDER`, with the figures in the file FIGURES.

A step writes its figures after each part, so that a step that is killed keeps them. Without a GPU it has a tiny form.
"""

import importlib.util
import json
import math
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gpu_first import SKIPPED, has_gpu
from machine import about

if TYPE_CHECKING:
    from lowmed.engine.device import Precision

ROOT = Path(__file__).parent.parent
Save = Callable[[dict[str, Any]], None]
GPU = has_gpu()
ROWS = (64, 32, 1) if GPU else (4, 1)  # completions that are decoded together; the size of a training step first
PROMPTS, GREEDY_TOKENS = (16, 48) if GPU else (3, 6)
PRECISIONS: "tuple[Precision, Precision]" = ("bf16", "fp16") if GPU else ("fp32", "bf16")  # fp16 needs a GPU
FP16_STEPS = 4  # loss scaling may skip the first ones
WEIGHTS = Path("weights")  # in the scratch folder, which all steps share
NANO_STEPS = 10 if GPU else 3
TINY_RUN = ["method.num_generations=2", "method.prompts_per_step=2", "method.max_completion_length=8"]


def skip(reason: str) -> NoReturn:
    """End this step as one that does not apply."""
    print(reason)
    raise SystemExit(SKIPPED)


def doctor(_model: str, save: Save) -> None:
    """Card, driver, versions, and the problems that `lowmed doctor` reports."""
    figures: dict[str, Any] = {"machine": about()}
    save(figures)
    if GPU:
        query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit"
        command = ["nvidia-smi", query, "--format=csv,noheader"]
        figures["nvidia-smi"] = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        save(figures)
    figures["doctor"] = json.loads(lowmed("doctor", "--json"))
    save(figures)
    import torch

    figures["card"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    save(figures)


def nano(_model: str, save: Save) -> None:
    """Some GRPO steps of the embedded model; each metric must be finite."""
    lowmed("grpo", "--recipe", "rarl", "--nano", f"method.max_steps={NANO_STEPS}", "--out", "nano-run")
    rows = [json.loads(line) for line in Path("nano-run/metrics.jsonl").read_text().splitlines()]
    record = json.loads(Path("nano-run/run.json").read_text())
    infinite = sorted({name for row in rows for name, value in row.items() if not _finite(value)})
    figures = {
        "steps": len(rows),
        "not_finite": infinite,
        "step_s": statistics.median(row["seconds"] for row in rows),
        "reward": [rows[0]["reward"], rows[-1]["reward"]],
        "logp_difference": max(row["logp_difference"] for row in rows),  # of sampling and training
        **{name: record.get(name) for name in ("card", "precision", "peak_gib", "backend", "dequantizes_rollouts")},
    }
    save(figures)
    if infinite or len(rows) != NANO_STEPS:
        raise SystemExit(f"{len(rows)} of {NANO_STEPS} steps; not finite: {', '.join(infinite) or 'none'}")


def weights(model: str, save: Save) -> None:
    """Random weights for the architecture in a folder, which later steps read like trained ones."""
    from update import written_model

    partial = Path(written_model(model, WEIGHTS / "partial"))  # a killed step must leave no model
    folder = partial.rename(WEIGHTS / partial.name)
    save({"gib": sum(file.stat().st_size for file in folder.iterdir()) / 2**30})


def decode(model: str, save: Save) -> None:
    """Milliseconds a token, eager and by CUDA graph, in 4 and 16 bit; then the greedy tokens of all ways."""
    import parts
    import parts_work
    from agreement_work import agreement

    figures: dict[str, Any] = {"machine": about(), "cells": [], "agreement": []}
    shown = Path(model).name
    for rows in ROWS:
        cell = parts.decoding_cell(model, rows, 32 if GPU else 4)
        result = parts_work.measure(cell)
        figures["cells"].append({"settings": cell | {"model": shown}, "images": parts_work.IMAGES, **result})
        save(figures)
    for name, base in ((model, "4bit"), ("nano", "16bit"), (model, "16bit")):
        result = agreement(name, base, PROMPTS, GREEDY_TOKENS)
        figures["agreement"].append({"model": Path(name).name, "load_in": base, **result})
        save(figures)


def update(model: str, save: Save, against: str = "trl") -> None:
    """One optimizer step of the `rarl` recipe at the size of the model, by lowmed and by another side."""
    import update as updates
    from update_cell import CAP_GIB

    shown = Path(model).name
    figures: dict[str, Any] = {"machine": about(), "cap_gib": CAP_GIB, "cells": []}
    cell = {
        "model": model, "load_in": "4bit", "seed": 0, "against": [against], "task": "grpo", "questions": 2,
        "tokens": 256 if GPU else 16, "group": 8 if GPU else 2, "updates": 3 if GPU else 2,
        "new_tokens": 128 if GPU else 4,
    }  # fmt: skip

    def report(result: dict[str, Any]) -> None:
        figures["cells"] = [{"settings": cell | {"model": shown}, **result}]
        save(figures)

    report(updates.measure(cell, report))


def unsloth(model: str, save: Save) -> None:
    """One optimizer step by unsloth and by lowmed's transformers backend."""
    if importlib.util.find_spec("unsloth") is None:
        skip("unsloth is not installed; gpu_site.sh FOLDER unsloth includes it")
    if not GPU:
        skip("unsloth needs a CUDA GPU")
    from update_cell import has_weights

    if not has_weights(model):
        skip("unsloth needs the step `weights`, which failed")
    update(model, save, "unsloth")


def dry_run(model: str, save: Save, recipe: str = "rarl", load_in: str = "4bit") -> None:
    """Memory and time by phase, a row for the planner."""
    from update_cell import has_weights

    tiny = [] if GPU else [key for key in TINY_RUN if recipe == "rarl" or "prompts_per_step" in key]
    printed = lowmed(
        "plan", "--recipe", recipe, "--dry-run", "--json", f"model.name={model}", f"model.load_in={load_in}",
        "data.source=phantom", "data.split_by=official", *tiny,
        *([] if has_weights(model) else ["model.weights=random"]),
    )  # fmt: skip
    save({"run": json.loads(printed)})


def attention(model: str, save: Save) -> None:
    """Eager decoding without and with cuDNN's attention, which lowmed turns off."""
    import parts_work

    rows, tokens = ROWS[0], 32 if GPU else 4
    figures: dict[str, Any] = {"rows": rows, "tokens": tokens, "load_in": "4bit"}
    for name in ("off", "on"):
        figures[name] = parts_work.eager(model, "4bit", rows, tokens, cudnn=name == "on")
        save(figures)


def precision(model: str, save: Save) -> None:
    """Losses and gradient norms of the same SFT steps in fp16 and in bf16."""
    from precision_work import train_in

    figures: dict[str, Any] = {"pair": PRECISIONS, "models": []}
    for name in ("nano", model):
        rows: dict[str, Any] = {}
        figures["models"].append({"model": Path(name).name, "rows": rows})
        for each in PRECISIONS:
            rows[each] = train_in(each, name, FP16_STEPS)
            save(figures)
        compared = [
            pair
            for pair in zip(*(rows[each] for each in PRECISIONS), strict=True)
            if all(_finite(value) for row in pair for value in row.values())
        ]
        figures["models"][-1]["finite_steps"] = len(compared)
        if compared:
            base, other = compared[0]
            figures["models"][-1]["difference"] = {key: abs(other[key] - base[key]) / abs(base[key]) for key in base}
        save(figures)


def tests(_model: str, save: Save, runs: bool = False) -> None:
    """The tests that need a GPU: those of functions, or those of whole runs, which take minutes."""
    if not GPU:
        skip("the tests need a CUDA GPU")
    files = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if "mark.gpu" in path.read_text() and path.stem.endswith("_runs") == runs
    )
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "--tb=short", "-p", "no:cacheprovider", *files]
    counts: dict[str, int] = {"passed": 0, "failed": 0, "skipped": 0, "error": 0}
    figures: dict[str, Any] = {"counts": counts, "failed": []}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if ended := re.match(r"(tests/\S+::\S+.*?) (PASSED|FAILED|SKIPPED|ERROR)", line):
                counts[ended[2].lower()] += 1
                if ended[2] in ("FAILED", "ERROR"):
                    figures["failed"].append(ended[1])
                save(figures)
    if process.returncode:
        raise SystemExit(process.returncode)


STEPS: dict[str, Callable[[str, Save], None]] = {
    "doctor": doctor,
    "nano": nano,
    "weights": weights,
    "decode": decode,
    "update": update,
    "dry-run": dry_run,
    "tests": tests,
    "precision": precision,
    "attention": attention,
    "update-same": lambda model, save: update(model, save, "trl-same"),
    "unsloth": unsloth,
    "dry-run-sft": lambda model, save: dry_run(model, save, "rarl-sft"),
    "test-runs": lambda model, save: tests(model, save, runs=True),
    "dry-run-16bit": lambda model, save: dry_run(model, save, "rarl", "16bit"),
}


def lowmed(*arguments: str) -> str:
    """What a command of lowmed prints."""
    command = [sys.executable, "-m", "lowmed", *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{ended.stdout}\nlowmed {' '.join(arguments)} ended with {ended.returncode}")
    return ended.stdout


def _finite(value: Any) -> bool:
    return value is None or not isinstance(value, int | float) or math.isfinite(value)


def main() -> None:
    name, model = sys.argv[1:]
    path = Path(os.environ["FIGURES"])

    def save(figures: dict[str, Any]) -> None:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(figures))
        temporary.replace(path)

    written = (WEIGHTS / Path(model).name).resolve()
    STEPS[name](str(written) if any(written.glob("*.safetensors")) else model, save)


if __name__ == "__main__":
    main()
