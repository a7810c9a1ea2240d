"""How difficult the testbed is without a model, with and without shortcuts: docs/testbed.md.

    python benchmarks/testbed.py

Results are printed, written to benchmarks/results/testbed.json and put into docs/testbed.md. It takes 3 minutes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from machine import store
from page import put

from lowmed.recipe.dials import Dials
from lowmed.testbed import samples as testbed
from lowmed.testbed.baselines import most_frequent, pixel_classifier
from lowmed.testbed.questions import TOPICS

PAGE = Path(__file__).parent.parent / "docs" / "testbed.md"
TRAIN, TEST, UNSEEN = 1200, 1000, 500
DIALS = (Dials(), Dials(marker=0.9), Dials(style=0.9), Dials(prior=0.6), Dials(label_noise=0.2))


def measure(dials: Dials) -> dict[str, Any]:
    """Accuracies of all baselines that learn from a training split with these dials."""
    both = testbed.samples("train", TRAIN + TEST, dials=dials)
    train, same = both[:TRAIN], both[TRAIN:]
    test, unseen = testbed.samples("test", TEST), testbed.samples("unseen", UNSEEN)
    of_pixels = pixel_classifier(train, test)
    topics = np.array([sample.topic for sample in test])
    return {
        "dials": str(dials) or "none",
        "topic": most_frequent(train, test, by_question=False).mean(),
        "question": most_frequent(train, test, by_question=True).mean(),
        "pixels": of_pixels.mean(),
        "pixels_unseen": pixel_classifier(train, unseen).mean(),
        "pixels_same_dials": pixel_classifier(train, same).mean(),
        "pixels_by_topic": {topic: of_pixels[topics == topic].mean() for topic in TOPICS},
    }


def table(cells: list[dict[str, Any]]) -> str:
    """One row for each setting of the dials."""
    names = ("topic", "question", "pixels", "pixels_unseen", "pixels_same_dials")
    lines = [
        "| dials of the training split | topic | question | pixels | pixels, unseen | pixels, same dials |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {cell['dials']} | " + " | ".join(f"{cell[name]:.2f}" for name in names) + " |" for cell in cells]
    return "\n".join(lines)


def main() -> None:
    cells = []
    for dials in DIALS:
        cells.append(measure(dials))
        print(cells[-1], flush=True)
    store("testbed", {"train": TRAIN, "test": TEST, "unseen": UNSEEN, "cells": cells})
    put(PAGE, "baselines", table(cells))
    by_topic = cells[0]["pixels_by_topic"]
    lines = ["| " + " | ".join(by_topic) + " |", "|" + " --- |" * len(by_topic)]
    lines.append("| " + " | ".join(f"{value:.2f}" for value in by_topic.values()) + " |")
    put(PAGE, "topics", "\n".join(lines))


if __name__ == "__main__":
    main()
