"""Coverage of the 95 % intervals and level of the paired tests, on simulated test sets whose questions share images.

    python benchmarks/intervals.py [--repeats 2000]

The ease of an image follows a beta distribution: a correlation of 0 makes all questions independent, 1 makes all
questions about an image equal. Layouts: `1` one question per image, `1-3` one to three, `1-12` one to twelve, most
images with few, `1+30` one image with 30 questions. Results are printed, written to benchmarks/results/intervals.json
with the versions, the machine and the date, and put into docs/evaluation.md. `bootstrap` is the percentile bootstrap
over images, for comparison.
"""

import argparse
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from machine import store
from page import put
from scipy.stats import beta

from lowmed.evaluation.intervals import difference_interval, mean_interval, wilson
from lowmed.evaluation.paired_tests import mcnemar, sign_flip

PAGE = Path(__file__).parent.parent / "docs" / "evaluation.md"
IMAGES = (20, 67, 203)
SHARES = (0.5, 0.8, 0.95, 0.97, 0.99)
PAIRS = ((0.5, 0.5), (0.8, 0.8), (0.95, 0.95), (0.97, 0.97), (0.5, 0.6), (0.8, 0.9), (0.95, 0.99))
CLUSTERS = (("1", 0.0), ("1-3", 0.0), ("1-3", 0.3), ("1-3", 0.7), ("1-12", 0.3), ("1-12", 0.7), ("1+30", 0.3))
DRAWS = 400  # of the bootstrap
PARTIAL = np.array([1 / 3, 1 / 2, 2 / 3])  # token F1 of an answer that is partly right; mean 1/2
Generator = np.random.Generator
Array = np.ndarray[Any, np.dtype[Any]]
LAYOUTS: dict[str, Callable[[Generator, int], Array]] = {
    "1": lambda generator, images: np.ones(images, dtype=int),
    "1-3": lambda generator, images: generator.integers(1, 4, images),
    "1-12": lambda generator, images: np.minimum(12, generator.geometric(0.3, images)),
    "1+30": lambda generator, images: np.concatenate([[30], np.ones(images - 1, dtype=int)]),
}


def ease(quantiles: Array, share: float, correlation: float) -> Array:
    """The share of right answers about each image, from its quantile among all images."""
    if correlation == 0:
        return np.full(len(quantiles), share)
    strength = (1 - correlation) / correlation
    return np.asarray(beta.ppf(quantiles, share * strength, (1 - share) * strength))


def images_of(generator: Generator, images: int, layout: str) -> Array:
    """The image of each question."""
    return np.repeat(np.arange(images), LAYOUTS[layout](generator, images))


def cover_accuracy(
    images: int, share: float, layout: str, correlation: float, repeats: int, seed: int, bootstraps: int = 0
) -> dict[str, float]:
    """Coverage of the intervals of an accuracy."""
    generator = np.random.default_rng(seed)
    held: dict[str, list[float]] = {"by_image": [], "wilson": [], "bootstrap": [], "token_f1": []}
    widths = []
    for repeat in range(repeats):
        image = images_of(generator, images, layout)
        chance = ease(generator.random(images), share, correlation)[image]
        right = (generator.random(len(image)) < chance).astype(float)
        groups = image.astype(str).tolist()
        low, high = mean_interval(right.tolist(), groups)
        widths.append(high - low)
        held["by_image"].append(low <= share <= high)
        low, high = wilson(int(right.sum()), len(right))
        held["wilson"].append(low <= share <= high)
        if repeat < bootstraps:
            low, high = percentile_bootstrap(generator, right, image)
            held["bootstrap"].append(low <= share <= high)
        partial = (generator.random(len(image)) < 0.5) * generator.choice(PARTIAL, len(image))
        low, high = mean_interval(np.where(right == 1, 1.0, partial).tolist(), groups)
        held["token_f1"].append(low <= share + (1 - share) / 4 <= high)
    return {name: float(np.mean(values)) for name, values in held.items() if values} | {"width": float(np.mean(widths))}


def percentile_bootstrap(generator: Generator, right: Array, image: Array) -> tuple[float, float]:
    """The interval of a percentile bootstrap over images."""
    sizes, totals = np.bincount(image), np.bincount(image, weights=right)
    drawn = generator.integers(0, len(sizes), size=(DRAWS, len(sizes)))
    low, high = np.quantile(totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def cover_difference(
    images: int, first: float, second: float, layout: str, correlation: float, repeats: int, seed: int,
    *, shared: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Coverage of the interval of a paired difference; for equal systems the share of p values under 0.05.

    `shared` gives an image the same ease for both systems. Otherwise the systems depend on images in different ways.
    """
    generator = np.random.default_rng(seed)
    covered, widths, rejected = [], [], {"sign_flip": 0, "mcnemar": 0}
    for _ in range(repeats):
        image = images_of(generator, images, layout)
        quantiles = generator.random(images)
        others = quantiles if shared else generator.random(images)
        before = generator.random(len(image)) < ease(quantiles, first, correlation)[image]
        after = generator.random(len(image)) < ease(others, second, correlation)[image]
        changes, groups = (after.astype(int) - before).tolist(), image.astype(str).tolist()
        low, high = difference_interval(changes, groups)
        covered.append(low <= second - first <= high)
        widths.append(high - low)
        rejected["sign_flip"] += sign_flip(changes, groups) < 0.05
        rejected["mcnemar"] += mcnemar(changes.count(-1), changes.count(1)) < 0.05
    level = {name: count / repeats for name, count in rejected.items()} if first == second else {}
    return {"by_image": float(np.mean(covered)), "width": float(np.mean(widths)), **level}


def accuracy_table(cells: list[dict[str, Any]]) -> str:
    """Worst coverage over the layouts and correlations."""
    lines = [
        "| images | accuracy | by image | mean token F1, by image | percentile bootstrap | Wilson |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (images, share), group in groupby(cells, key=lambda cell: (cell["images"], cell["share"])):
        part = list(group)
        worst = (min(cell[name] for cell in part) for name in ("by_image", "token_f1", "bootstrap", "wilson"))
        lines.append(f"| {images} | {share} | " + " | ".join(f"{value:.3f}" for value in worst) + " |")
    return "\n".join(lines)


def difference_table(cells: list[dict[str, Any]]) -> str:
    """Worst coverage and highest share of false positives over the layouts and correlations."""
    lines = [
        "| images | accuracies | difference, by image | false positives: sign-flip over images | McNemar |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (images, first, second), group in groupby(
        cells, key=lambda cell: (cell["images"], cell["first"], cell["second"])
    ):
        part = list(group)
        levels = [
            f"{max(cell[name] for cell in part):.3f}" if first == second else "" for name in ("sign_flip", "mcnemar")
        ]
        covered = min(cell["by_image"] for cell in part)
        lines.append(f"| {images} | {first}, {second} | {covered:.3f} | {levels[0]} | {levels[1]} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    accuracies: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for images in IMAGES:
        for share in SHARES:
            for layout, correlation in CLUSTERS:
                cell = {"images": images, "share": share, "layout": layout, "correlation": correlation}
                seed, bootstraps = len(accuracies), repeats // 4
                figures = cover_accuracy(images, share, layout, correlation, repeats, seed, bootstraps)
                accuracies.append({**cell, **figures})
                print(accuracies[-1], flush=True)
    for images in IMAGES:
        for first, second in PAIRS:
            for layout, correlation in CLUSTERS:
                for shared in (False, True):
                    figures = cover_difference(
                        images, first, second, layout, correlation, repeats, seed=len(differences), shared=shared
                    )
                    cell = {"images": images, "first": first, "second": second, "layout": layout}
                    differences.append({**cell, "correlation": correlation, "shared": shared, **figures})
                    print(differences[-1], flush=True)
    print(store("intervals", {"repeats": repeats, "accuracy": accuracies, "difference": differences}))
    put(PAGE, "coverage", accuracy_table(accuracies))
    put(PAGE, "differences", difference_table(differences))


if __name__ == "__main__":
    main()
