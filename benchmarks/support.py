"""The gain of RL against the support of its base model: every base of the testbed, topic by topic.

    for base in habit steps weak part-100 part-200 part-300; do
        lowmed probe bases/$base --on testbed --questions 500 --out probes/$base
    done
    python benchmarks/support.py FOLDER probes

FOLDER is the finished study of benchmarks/studies/support.yaml. A point is a topic of a base: Pass@16 (any of 16
sampled completions is right) and the share of right samples, both on training questions before training, and the gain
in greedy accuracy on test questions, averaged over the seeds. The two come from different questions: an accuracy that
is too low by chance would otherwise make the gap and the gain larger together. Results are written to
benchmarks/results/support.json and into docs/testbed.md.
"""

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from machine import store
from page import put

from lowmed.records import read_record
from lowmed.study.records import StudyRecord
from lowmed.testbed.samples import sample_of

PAGE = Path(__file__).parent.parent / "docs" / "testbed.md"
BASES = ("weak", "part-100", "part-200", "part-300", "steps", "habit")  # arms of the study have the same names
EDGES = (0.0, 0.5, 0.8, 0.95, 1.0)
SAMPLES = 16
DRAWS = 2000


def probed(folder: Path) -> dict[str, tuple[float, float]]:
    """Pass@16 and the share of right samples by topic, from the counts of a probe."""
    counts: dict[str, list[int]] = defaultdict(list)
    for line in (folder / "difficulty.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["completions"] != SAMPLES:
            raise SystemExit(f"{folder} was probed with {row['completions']} samples, not {SAMPLES}")
        counts[sample_of(row["id"]).topic].append(row["correct"])
    return {
        topic: (float(np.mean([count > 0 for count in of_topic])), float(np.mean(of_topic)) / SAMPLES)
        for topic, of_topic in counts.items()
    }


def accuracies(folder: Path, system: str) -> dict[str, float]:
    """Strict accuracy on `test` by topic, of one run."""
    [report] = [file for file in folder.glob("evals/**/report.json") if system in _results(file)]
    by_topic = _results(report)[system]["by_topic"]
    return {topic: cell["strict"] for topic, cell in by_topic.items()}


def _results(report: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(report.read_text())["splits"]["test"]["results"]
    return results


def points(study: Path, probes: Path, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """One point for each base and topic."""
    rows = []
    for base in BASES:
        by_topic = probed(probes / base)
        before = accuracies(study / "runs" / f"{base}-seed{seeds[0]}", "base")
        after = [accuracies(study / "runs" / f"{base}-seed{seed}", "tuned") for seed in seeds]
        for topic, accuracy in before.items():
            gains = [one[topic] - accuracy for one in after]
            reached, sampled = by_topic[topic]
            rows.append(
                {
                    "base": base, "topic": topic, "pass_at_16": reached, "sampled": sampled, "before": accuracy,
                    "gain": float(np.mean(gains)), "gains": gains,
                }
            )  # fmt: skip
    return rows


def correlation(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """Spearman's correlation with a bootstrap interval of 95 % over the points."""
    from scipy.stats import spearmanr

    generator = np.random.default_rng(0)
    x, y = np.array(first), np.array(second)
    draws = generator.integers(len(x), size=(DRAWS, len(x)))
    values = [spearmanr(x[rows], y[rows]).statistic for rows in draws]
    low, high = np.nanquantile(values, (0.025, 0.975))
    return float(spearmanr(x, y).statistic), float(low), float(high)


def bases_table(rows: list[dict[str, Any]]) -> str:
    """One row for each base, the mean over its topics."""
    lines = ["| base | Pass@16 | right samples | gap | gain of RL |", "| --- | --- | --- | --- | --- |"]
    for base in BASES:
        of_base = [row for row in rows if row["base"] == base]
        reached, sampled, gain = (
            float(np.mean([row[name] for row in of_base])) for name in ("pass_at_16", "sampled", "gain")
        )
        lines.append(f"| `{base}` | {reached:.2f} | {sampled:.2f} | {reached - sampled:.2f} | {gain:+.3f} |")
    return "\n".join(lines)


def curve_table(rows: list[dict[str, Any]]) -> str:
    """The mean gain of the points in each range of Pass@16."""
    lines = [
        "| Pass@16 before training | topics of bases | right samples | gain, mean and range |",
        "| --- | --- | --- | --- |",
    ]
    for low, high in itertools.pairwise(EDGES):
        inside = [row for row in rows if low <= row["pass_at_16"] < high or row["pass_at_16"] == high == EDGES[-1]]
        gains = [row["gain"] for row in inside]
        text = f"{np.mean(gains):+.3f} [{min(gains):+.3f}, {max(gains):+.3f}]" if gains else ""
        sampled = f"{np.mean([row['sampled'] for row in inside]):.2f}" if inside else ""
        lines.append(f"| {low:.2f} to {high:.2f} | {len(inside)} | {sampled} | {text} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("study", type=Path, help="folder of the finished study")
    parser.add_argument("probes", type=Path, help="folder of the probes, one for each base")
    options = parser.parse_args()
    record = read_record(options.study / "study.json", StudyRecord)
    rows = points(options.study, options.probes, record.seeds)
    gain = [row["gain"] for row in rows]
    of_support = correlation([row["pass_at_16"] for row in rows], gain)
    of_gap = correlation([row["pass_at_16"] - row["sampled"] for row in rows], gain)
    text = (
        f"{bases_table(rows)}\n\n{curve_table(rows)}\n\n"
        f"Spearman's correlation over the {len(rows)} points, with a bootstrap interval: gain with Pass@16 "
        f"{of_support[0]:+.2f} [{of_support[1]:+.2f}, {of_support[2]:+.2f}], gain with the gap "
        f"{of_gap[0]:+.2f} [{of_gap[1]:+.2f}, {of_gap[2]:+.2f}]."
    )
    print(text)
    store("support", {"points": rows, "gain_with_pass_at_16": of_support, "gain_with_gap": of_gap})
    put(PAGE, "support", text)


if __name__ == "__main__":
    main()
