"""Coverage of the 95 % intervals of an AUROC and of a paired difference, on simulated tests that share images.

    python benchmarks/auroc.py [--repeats 400]

A score is normal, higher by a constant for a gold yes, and has a part that all questions of an image share. Layouts are
those of intervals.py. Results are printed, written to benchmarks/results/auroc.json, and put into docs/evaluation.md.
`plain` is the normal interval, value +- 1.96 standard errors by DeLong, for comparison.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from intervals import IMAGES, LAYOUTS, Generator, images_of
from machine import store
from page import put
from scipy.stats import norm

from lowmed.evaluation.auroc import aurocs, delong_p
from lowmed.evaluation.combined_intervals import weighted_sum

PAGE = Path(__file__).parent.parent / "docs" / "evaluation.md"
PAIRS = ((0.5, 0.5), (0.8, 0.8), (0.8, 0.9), (0.95, 0.95), (0.95, 0.99))
PREVALENCE = 0.3
OF_IMAGE = 0.6  # share of the standard deviation of a score that its image decides


def cover(images: int, pair: tuple[float, float], layout: str, repeats: int) -> dict[str, float]:
    """Coverage for the second system, for the difference, and for equal systems the share of p under 0.05."""
    generator = np.random.default_rng(1)
    held: dict[str, list[bool]] = {"area": [], "plain": [], "difference": [], "plain_difference": [], "p": []}
    for _ in range(repeats):
        image = images_of(generator, images, layout)
        positive = generator.random(len(image)) < PREVALENCE
        if positive.all() or not positive.any():
            continue
        shared = generator.normal(size=images)[image]
        systems = [scores(generator, area, positive, shared) for area in pair]
        (first, second), covariance = aurocs(systems, positive.tolist(), image.astype(str).tolist())
        variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        difference, interval = weighted_sum([second, first], [1, -1], (-1.0, 1.0))
        true = pair[1] - pair[0]
        held["area"].append(second.interval[0] <= pair[1] <= second.interval[1])
        held["plain"].append(abs(second.value - pair[1]) <= 1.96 * float(covariance[1, 1]) ** 0.5)
        held["difference"].append(interval[0] <= true <= interval[1])
        held["plain_difference"].append(abs(difference - true) <= 1.96 * max(0.0, variance) ** 0.5)
        if true == 0:
            held["p"].append(
                (delong_p(difference, covariance, positive.tolist(), image.astype(str).tolist()) or 0.0) < 0.05
            )
    return {name: float(np.mean(values)) for name, values in held.items() if values}


def scores(generator: Generator, area: float, positive: Any, shared: Any) -> list[float]:
    """Scores with this AUROC."""
    noise = OF_IMAGE * shared + (1 - OF_IMAGE**2) ** 0.5 * generator.normal(size=len(positive))
    result: list[float] = (noise + positive * norm.ppf(area) * 2**0.5).tolist()
    return result


def table(cells: list[dict[str, Any]]) -> str:
    """Worst coverage over the layouts, and the highest share of false positives."""
    lines = [
        "| images | AUROC of A, B | AUROC of B | plain DeLong | difference | plain DeLong | false positives of p |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for images in IMAGES:
        for pair in PAIRS:
            part = [cell for cell in cells if (cell["images"], cell["pair"]) == (images, pair)]
            names = ("area", "plain", "difference", "plain_difference")
            worst = " | ".join(f"{min(cell[name] for cell in part):.3f}" for name in names)
            level = f"{max(cell['p'] for cell in part):.3f}" if "p" in part[0] else ""
            lines.append(f"| {images} | {pair[0]}, {pair[1]} | {worst} | {level} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=400)
    repeats = parser.parse_args().repeats
    cells: list[dict[str, Any]] = []
    for images in IMAGES:
        for pair in PAIRS:
            for layout in LAYOUTS:
                cell = {"images": images, "pair": pair, "layout": layout}
                cells.append({**cell, **cover(images, pair, layout, repeats)})
                print(cells[-1], flush=True)
    print(store("auroc", {"repeats": repeats, "cells": cells}))
    put(PAGE, "auroc", table(cells))


if __name__ == "__main__":
    main()
