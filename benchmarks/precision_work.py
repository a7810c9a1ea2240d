"""SFT steps in a chosen precision, for benchmarks/gpu_first_steps.py."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch  # noqa: TID253  # this module is imported when a step runs
from update_cell import data_of, recipe_of

from lowmed.engine import device, train
from lowmed.run import create_run


def train_in(precision: device.Precision, model: str, steps: int) -> list[dict[str, float]]:
    """Loss and gradient norm of each step. Initial weights and rows depend on the model only.

    Args:
        precision: precision of the forward and backward passes.
        model: `nano`, or a folder with config, tokenizer and processor files.
        steps: optimizer steps.
    """
    cell = {"task": "sft", "model": model, "load_in": "4bit", "tokens": 64, "seed": 0, "questions": 4, "updates": steps}
    stock = device.find_device
    rows: list[dict[str, float]] = []
    device.find_device = lambda spec: replace(stock(spec), precision=precision)  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as name:
            recipe = recipe_of(cell, "lowmed", Path(name))
            torch.manual_seed(0)  # random weights are drawn from it
            loaded = train.load_for_training(recipe)
            run = create_run(recipe, "precision", out=str(Path(name) / "run"))
            train.train(run, loaded, data_of(cell), report=lambda _step, row: rows.append(row))
    finally:
        device.find_device = stock
    return [{key: row[key] for key in ("loss", "grad_norm")} for row in rows]
