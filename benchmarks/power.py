"""The smallest difference that a study of the testbed detects, by simulation, before any arm is trained.

    python benchmarks/power.py [--repeats 200]

Each question has an image of its own, and its difficulty is the same for both arms. Seeds of an arm agree as in
seeds.py. A difference is detected if the sign-flip test of `lowmed study` gives p below 0.05 divided by
the number of comparisons, the strictest step of Holm's correction. Results are written to
benchmarks/results/power.json and into docs/testbed.md.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from intervals import Array, Generator, ease
from machine import store
from page import put

from lowmed.evaluation.seed_means import Scores, difference_over_seeds

PAGE = Path(__file__).parent.parent / "docs" / "testbed.md"
QUESTIONS = {"test": 1000, "unseen": 500}
ACCURACIES = (0.5, 0.7, 0.85)
DIFFERENCES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08)
SEEDS, SAME, COMPARISONS = 5, 0.8, 40
WANTED = 0.8
CORRELATION = 0.5  # of the answers to one question: its chance follows a beta distribution


def scores(generator: Generator, chance: Array) -> list[Scores]:
    """The scores of each seed of an arm; with a share of 0.8 seeds agree on a question."""
    common = generator.random(len(chance))
    result: list[Scores] = []
    for _ in range(SEEDS):
        own = np.where(generator.random(len(chance)) < SAME, common, generator.random(len(chance)))
        right = (own < chance).astype(float)
        result.append({(f"q{number}", f"image {number}"): float(value) for number, value in enumerate(right)})
    return result


def power(questions: int, accuracy: float, difference: float, repeats: int) -> float:
    """The share of simulated studies that detect the difference."""
    generator = np.random.default_rng(0)
    detected = 0
    for _ in range(repeats):
        difficulty = generator.random(questions)  # the same for both arms
        first, second = (
            scores(generator, ease(difficulty, share, CORRELATION)) for share in (accuracy, accuracy + difference)
        )
        detected += difference_over_seeds(first, second)[2] < 0.05 / COMPARISONS
    return detected / repeats


def table(cells: list[dict[str, Any]]) -> str:
    """The smallest simulated difference that at least 0.8 of the studies detect."""
    lines = ["| questions | accuracy | smallest detected difference |", "| --- | --- | --- |"]
    for name, questions in QUESTIONS.items():
        for accuracy in ACCURACIES:
            detected = [
                cell["difference"]
                for cell in cells
                if (cell["questions"], cell["accuracy"]) == (questions, accuracy) and cell["power"] >= WANTED
            ]
            smallest = f"{min(detected):.2f}" if detected else f"over {max(DIFFERENCES):.2f}"
            lines.append(f"| {questions} ({name}) | {accuracy} | {smallest} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    cells = []
    for questions in QUESTIONS.values():
        for accuracy in ACCURACIES:
            for difference in DIFFERENCES:
                detected = power(questions, accuracy, difference, repeats)
                cell = {"questions": questions, "accuracy": accuracy, "difference": difference, "power": detected}
                cells.append(cell)
                print(cell, flush=True)
    store("power", {"repeats": repeats, "seeds": SEEDS, "same": SAME, "comparisons": COMPARISONS, "cells": cells})
    put(PAGE, "power", table(cells))


if __name__ == "__main__":
    main()
