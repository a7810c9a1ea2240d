"""What a study of the testbed shows about the claims of the papers: a verdict for each, and all other differences.

    lowmed study benchmarks/studies/claims.yaml --out FOLDER
    python benchmarks/claims.py FOLDER

A claim names a comparison, a split and the sign of the difference. It is `reproduced` if p after Holm is below 0.05,
the 95 % interval over the seeds excludes 0, and the sign is that of the claim; `reversed` if the sign is the other one.
Everything else is `not decided here`. A claim about two comparisons is about the second difference minus the first,
between runs of the same seed; only the interval over the seeds decides it. Results are written to
benchmarks/results/claims.json and into docs/testbed.md.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import store
from page import put

from lowmed.records import read_record
from lowmed.study.records import StudyDifference, StudyRecord

PAGE = Path(__file__).parent.parent / "docs" / "testbed.md"
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of a paper: the sign of a comparison's difference, or of the difference of two comparisons."""

    source: str
    text: str
    sign: int
    split: str
    comparison: str
    minus: str | None = None


CLAIMS = (
    Claim("RARL", "better than SFT on unseen data", 1, "unseen", "RARL against SFT"),
    Claim("RARL", "better than plain RL on unseen data", 1, "unseen", "RARL against RL"),
    Claim("RARL", "the reasoning prompt at inference helps", 1, "test", "reasoning prompt at inference"),
    Claim("RARL", "several wordings in training help on unseen data", 1, "unseen", "several wordings in training"),
    Claim("Zhu et al.", "GRPO is better than SFT", 1, "test", "RL against SFT"),
    Claim("Zhu et al.", "Dr.GRPO is better than GRPO", 1, "test", "Dr.GRPO"),
    Claim("Med-R1", "answering at once is better than thinking", -1, "test", "thinking against answering at once"),
    Claim("MedVLM-R1", "RL on one modality helps on others", 1, "unseen", "RL on one modality against the base"),
    Claim("MedBridgeRL", "RL sharpens what the base supports", 1, "test", "RL on a base that answers from the prior"),
    Claim(
        "MedBridgeRL", "RL gains less where Pass@K is near Acc@1", -1, "test", "one step only: RL alone",
        minus="RL on a base that answers from the prior",
    ),
    Claim("MedBridgeRL", "SFT opens what the base lacks", 1, "test", "one step only: SFT opens"),
    Claim("MedBridgeRL", "SFT, then RL, is better than RL alone", 1, "test", "one step only: SFT then RL against RL"),
    Claim("MedBridgeRL", "RL after SFT is better than SFT", 1, "test", "one step only: RL after SFT against SFT"),
)  # fmt: skip


def verdict(sign: int, difference: float, interval: Interval | None, p: float | None) -> str:
    """Whether a claim of this sign holds."""
    if interval is None or interval[0] <= 0 <= interval[1] or (p is not None and p >= 0.05):
        return "not decided here"
    return "reproduced" if (difference > 0) == (sign > 0) else "reversed"


def of_claim(claim: Claim, rows: dict[tuple[str, str], StudyDifference]) -> dict[str, Any] | None:
    """The figures of a claim, or None if a comparison of it is missing."""
    row = rows.get((claim.comparison, claim.split))
    other = rows.get((claim.minus, claim.split)) if claim.minus else None
    if row is None or (claim.minus and other is None):
        return None
    by_seed, difference, interval = row.by_seed, row.difference, row.over_seeds
    by_image: Interval | None = row.by_image
    p: float | None = row.p_holm
    if other is not None:
        by_seed = {seed: row.by_seed[seed] - other.by_seed[seed] for seed in row.by_seed.keys() & other.by_seed.keys()}
        difference, interval, by_image, p = (
            row.difference - other.difference,
            over_seeds([*by_seed.values()]),
            None,
            None,
        )
    return {
        "source": claim.source, "claim": claim.text, "split": claim.split, "sign": claim.sign,
        "comparison": claim.comparison, "minus": claim.minus, "difference": difference, "by_image": by_image,
        "over_seeds": interval, "p_holm": p, "by_seed": by_seed,
        "verdict": verdict(claim.sign, difference, interval, p),
    }  # fmt: skip


def over_seeds(values: list[float]) -> Interval | None:
    """95 % t interval of the mean."""
    from scipy import stats

    if len(values) < 2:
        return None
    mean, half = sum(values) / len(values), stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(mean - half), float(mean + half)


def shown(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval[0]:+.3f}, {interval[1]:+.3f}]"


def claims_table(claims: list[dict[str, Any]]) -> str:
    """One row for each claim."""
    lines = [
        "| paper | claim | split | difference, by image | over seeds | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in claims:
        figures = f"{one['difference']:+.3f} {shown(one['by_image'])} | {shown(one['over_seeds'])}"
        lines.append(f"| {one['source']} | {one['claim']} | `{one['split']}` | {figures} | {one['verdict']} |")
    return "\n".join(lines)


def length(study: Path, arm: str) -> float:
    """Mean tokens of a completion on `test`, over all seeds of an arm or of `base:ARM`."""
    system, name = ("base", arm.removeprefix("base:")) if arm.startswith("base:") else ("tuned", arm)
    files = (study / "runs").glob(f"{name}-seed*/evals/**/{system}.jsonl")
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return float(np.mean([row["tokens"] for row in rows if row["split"] == "test"]))


def arms_table(record: StudyRecord, tokens: dict[str, float]) -> str:
    """The accuracy of every arm on both splits, and the length of its completions."""
    lines = [
        "| arm | test, by image | SD over seeds | unseen, by image | SD over seeds | tokens |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    cells = {(row.arm, row.split): row for row in record.accuracies}
    for arm in dict.fromkeys(row.arm for row in record.accuracies):
        parts = []
        for split in ("test", "unseen"):
            row = cells[arm, split]
            low, high = row.by_image
            spread = "" if row.seed_sd is None else f"{row.seed_sd:.3f}"
            parts.append(f"{row.accuracy:.3f} [{low:.3f}, {high:.3f}] | {spread}")
        lines.append(f"| `{arm}` | " + " | ".join(parts) + f" | {tokens[arm]:.1f} |")
    return "\n".join(lines)


def differences_table(record: StudyRecord) -> str:
    """Every comparison of the study on both splits."""
    lines = [
        "| comparison | split | difference, by image | over seeds | p, Holm |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in record.comparisons:
        figures = f"{row.difference:+.3f} {shown(row.by_image)} | {shown(row.over_seeds)} | {row.p_holm:.2g}"
        lines.append(f"| {row.label}: `{row.second}` - `{row.first}` | `{row.split}` | {figures} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("study", type=Path, help="folder of the finished study")
    parser.add_argument("--show", action="store_true", help="print the tables of an unfinished study and store nothing")
    options = parser.parse_args()
    record = read_record(options.study / "study.json", StudyRecord)
    rows = {(row.label, row.split): row for row in record.comparisons}
    claims = [figures for claim in CLAIMS if (figures := of_claim(claim, rows)) is not None]
    tokens = {row.arm: length(options.study, row.arm) for row in record.accuracies}
    tables = {
        "claims": claims_table(claims),
        "arms": arms_table(record, tokens),
        "differences": differences_table(record),
    }
    print("\n\n".join(tables.values()))
    if options.show:
        return
    if not record.complete or len(claims) < len(CLAIMS):
        raise SystemExit("the study has not finished; --show prints what there is")
    seconds = sum(run.seconds or 0 for run in record.runs)
    store(
        "claims",
        {
            "study_sha256": record.study_sha256, "digest": record.digest, "seeds": record.seeds,
            "training_seconds": seconds, "claims": claims,
            "accuracies": [row.model_dump(mode="json") for row in record.accuracies],
            "comparisons": [row.model_dump(mode="json") for row in record.comparisons],
            "tokens": tokens,
        },
    )  # fmt: skip
    for mark, text in tables.items():
        put(PAGE, mark, text)


if __name__ == "__main__":
    main()
