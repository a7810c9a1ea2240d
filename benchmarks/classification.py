"""Coverage of the 95 % intervals of F1, PPV and balanced accuracy, and of their paired differences, on simulated tests.

    python benchmarks/classification.py [--repeats 400]

The simulated test sets are those of intervals.py: questions share images, and an image is as easy for one system as for
the other. Each gold answer is yes with the given prevalence. Results are printed, written to
benchmarks/results/classification.json, and put into docs/evaluation.md. `bootstrap` is the percentile bootstrap over
images, for comparison.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from intervals import CLUSTERS, DRAWS, IMAGES, Array, Generator, ease, images_of
from machine import store
from page import put

from lowmed.evaluation.classification import Case, yes_no_metrics
from lowmed.evaluation.classification_difference import yes_no_difference

PAGE = Path(__file__).parent.parent / "docs" / "evaluation.md"
NAMES = ("f1", "ppv", "balanced_accuracy")


class Systems(NamedTuple):
    """Prevalence, then sensitivity and specificity of two systems."""

    prevalence: float
    first: tuple[float, float]
    second: tuple[float, float]


SYSTEMS = (
    Systems(0.5, (0.8, 0.8), (0.8, 0.8)),
    Systems(0.3, (0.9, 0.95), (0.95, 0.95)),
    Systems(0.15, (0.8, 0.9), (0.8, 0.97)),
    Systems(0.5, (0.99, 0.05), (0.9, 0.6)),
)


def figures(true_positive: Any, false_positive: Any, false_negative: Any, true_negative: Any) -> tuple[Any, Any, Any]:
    """F1, PPV and balanced accuracy of counts or shares; NaN without a denominator."""
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = (
            true_positive / (true_positive + false_negative) + true_negative / (true_negative + false_positive)
        ) / 2
        f1 = 2 * true_positive / (2 * true_positive + false_positive + false_negative)
        return f1, true_positive / (true_positive + false_positive), recalls


def truth(prevalence: float, sensitivity: float, specificity: float) -> tuple[Any, Any, Any]:
    """The figures of all questions of the population."""
    negative = 1 - prevalence
    return figures(
        np.float64(prevalence * sensitivity),
        negative * (1 - specificity),
        prevalence * (1 - sensitivity),
        negative * specificity,
    )


def cover(images: int, systems: Systems, layout: str, correlation: float, repeats: int) -> dict[str, float]:
    """The share of simulated test sets whose interval contains the true figure."""
    generator = np.random.default_rng(1)
    true = [truth(systems.prevalence, *system) for system in (systems.first, systems.second)]
    held: dict[str, list[bool]] = defaultdict(list)
    for repeat in range(repeats):
        image = images_of(generator, images, layout)
        gold = generator.random(len(image)) < systems.prevalence
        if gold.all() or not gold.any():
            continue
        quantiles = generator.random(images)
        answers = [answered(generator, gold, quantiles, image, *system, correlation) for system in systems[1:]]
        first, second = ([*map(_case, gold, answer, image)] for answer in answers)
        one, change = yes_no_metrics(first), yes_no_difference(list(zip(first, second, strict=True)))
        bootstraps = percentile_bootstrap(generator, gold, answers, image) if repeat < repeats // 4 else {}
        for at, name in enumerate(NAMES):
            expected = {name: true[0][at], f"{name}_difference": true[1][at] - true[0][at]}
            measured = {name: getattr(one, name), f"{name}_difference": getattr(change, name)}
            for label, value in expected.items():
                if measured[label]:
                    low, high = measured[label].by_image
                    held[label].append(low <= value + 1e-12 and value <= high + 1e-12)
                if label in bootstraps:
                    low, high = bootstraps[label]
                    held[f"{label}_bootstrap"].append(low <= value + 1e-12 and value <= high + 1e-12)
    return {name: float(np.mean(values)) for name, values in held.items()}


def answered(
    generator: Generator, gold: Array, quantiles: Array, image: Array, sensitivity: float, specificity: float,
    correlation: float,
) -> Array:  # fmt: skip
    """Whether each answer is yes."""
    chances = [ease(quantiles, share, correlation)[image] for share in (sensitivity, specificity)]
    right = generator.random(len(image)) < np.where(gold, *chances)
    return np.where(right, gold, ~gold)


def _case(gold: bool, answer: bool, image: int) -> Case:
    return Case("yes" if gold else "no", "yes" if answer else "no", str(image))


def percentile_bootstrap(
    generator: Generator, gold: Array, answers: list[Array], image: Array
) -> dict[str, tuple[float, float]]:
    """The intervals of a percentile bootstrap over images."""
    images = int(image.max()) + 1
    drawn = generator.integers(0, images, (DRAWS, images))
    sides = []
    for answer in answers:
        cells = (gold & answer, ~gold & answer, gold & ~answer, ~gold & ~answer)
        counts = [np.bincount(image, weights=cell, minlength=images)[drawn].sum(axis=1) for cell in cells]
        sides.append(figures(*counts))
    result = {}
    for name, one, other in zip(NAMES, *sides, strict=True):
        for label, values in ((name, one), (f"{name}_difference", other - one)):
            if np.isfinite(values).any():
                low, high = np.nanquantile(values, [0.025, 0.975])
                result[label] = (float(low), float(high))
    return result


def table(cells: list[dict[str, Any]]) -> str:
    """Worst coverage over the layouts and correlations; in parentheses that of the bootstrap."""
    heads = ("F1", "PPV", "balanced accuracy", "F1, difference", "PPV, difference", "balanced accuracy, difference")
    names = (*NAMES, *(f"{name}_difference" for name in NAMES))
    lines = [
        "| images | prevalence | sensitivity, specificity of A; B | " + " | ".join(heads) + " |",
        "| --- | --- | --- |" + " --- |" * len(heads),
    ]
    for images in IMAGES:
        for systems in SYSTEMS:
            part = [cell for cell in cells if (cell["images"], cell["systems"]) == (images, systems)]
            worst = [
                f"{min(cell[name] for cell in part):.3f} ({min(cell[f'{name}_bootstrap'] for cell in part):.2f})"
                for name in names
            ]
            sides = "; ".join(", ".join(map(str, side)) for side in systems[1:])
            lines.append(f"| {images} | {systems.prevalence} | {sides} | " + " | ".join(worst) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=400)
    repeats = parser.parse_args().repeats
    cells: list[dict[str, Any]] = []
    for images in IMAGES:
        for systems in SYSTEMS:
            for layout, correlation in CLUSTERS:
                cell = {"images": images, "systems": systems, "layout": layout, "correlation": correlation}
                cells.append({**cell, **cover(images, systems, layout, correlation, repeats)})
                print(cells[-1], flush=True)
    print(store("classification", {"repeats": repeats, "cells": cells}))
    put(PAGE, "classification", table(cells))


if __name__ == "__main__":
    main()
