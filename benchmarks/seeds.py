"""Coverage of the intervals by image of `lowmed study`, and level of its test, with three seeds on simulated test sets.

    python benchmarks/seeds.py [--repeats 1000]

Layouts and correlations are those of intervals.py. Two seeds of an arm give a question the same answer with a
share of 0.8 and independent answers otherwise. Results are written to benchmarks/results/seeds.json, and the worst of
the layouts into docs/study.md.
"""

import argparse
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from intervals import CLUSTERS, Array, Generator, ease, images_of
from machine import store
from page import put

from lowmed.evaluation.seed_means import Scores, accuracy_over_seeds, difference_over_seeds

PAGE = Path(__file__).parent.parent / "docs" / "study.md"
IMAGES = (20, 67)
PAIRS = ((0.5, 0.5), (0.8, 0.8), (0.95, 0.95), (0.8, 0.9))
SEEDS, SAME = 3, 0.8


def draw(generator: Generator, chance: Array, image: Array) -> list[Scores]:
    """The scores of each seed."""
    common = generator.random(len(image))
    result: list[Scores] = []
    for _ in range(SEEDS):
        own = np.where(generator.random(len(image)) < SAME, common, generator.random(len(image)))
        right = (own < chance).astype(float)
        result.append({(f"q{number}", str(group)): float(right[number]) for number, group in enumerate(image)})
    return result


def cover(images: int, shares: tuple[float, float], layout: str, correlation: float, repeats: int) -> dict[str, float]:
    """Coverage of both intervals; for equal arms the share of p values under 0.05."""
    generator = np.random.default_rng(0)
    accuracy, difference, rejected = 0, 0, 0
    for _ in range(repeats):
        image = images_of(generator, images, layout)
        first, second = (
            draw(generator, ease(generator.random(images), share, correlation)[image], image) for share in shares
        )
        _, (low, high) = accuracy_over_seeds(first)
        accuracy += low <= shares[0] <= high
        _, (low, high), p = difference_over_seeds(first, second)
        difference += low <= shares[1] - shares[0] <= high
        rejected += p < 0.05
    level = {"false_positives": rejected / repeats} if shares[0] == shares[1] else {}
    return {"accuracy": accuracy / repeats, "difference": difference / repeats, **level}


def table(cells: list[dict[str, Any]]) -> str:
    """Worst coverage and most false positives over the layouts and correlations."""
    lines = ["| images | accuracies | accuracy | difference | false positives |", "| --- | --- | --- | --- | --- |"]
    for (images, first, second), group in groupby(cells, key=lambda one: (one["images"], one["first"], one["second"])):
        part = list(group)
        level = f"{max(one['false_positives'] for one in part):.3f}" if first == second else ""
        covered = (f"{min(one[name] for one in part):.3f}" for name in ("accuracy", "difference"))
        lines.append(f"| {images} | {first}, {second} | {' | '.join(covered)} | {level} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args().repeats
    cells = []
    for images in IMAGES:
        for first, second in PAIRS:
            for layout, correlation in CLUSTERS:
                figures = cover(images, (first, second), layout, correlation, repeats)
                cell = {"images": images, "first": first, "second": second, "layout": layout}
                cells.append({**cell, "correlation": correlation, **figures})
                print(cells[-1], flush=True)
    store("seeds", {"repeats": repeats, "seeds": SEEDS, "same": SAME, "cells": cells})
    put(PAGE, "coverage", table(cells))


if __name__ == "__main__":
    main()
