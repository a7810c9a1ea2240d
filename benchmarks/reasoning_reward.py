"""Measures what the reward `reasoning` pays for honest and for empty reasoning, and whether it goes with right answers.

    python benchmarks/reasoning_reward.py --completions A.jsonl B.jsonl --out benchmarks/results/reasoning_reward.json
    python benchmarks/reasoning_reward.py --half dev ...      # the half on which rules may be looked at

Each line of a file is a choice question with `id`, `question`, `options`, `answer`, `group` and a completion in think
and answer tags. The reasoning of a right completion is the explanation of its row. Without files, the corpus is that of
nano. The halves are the even and the odd rows of each file; figures are of the odd ones unless `--half` says otherwise.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy.stats import rankdata

from lowmed import answer, rewards
from lowmed.files import write_json
from lowmed.nano import phantom
from lowmed.rewards.format import thought
from lowmed.sample import Sample

PHANTOM_ROWS = 400
SALAD_WORDS = 30
CONSTANTS_TRIED = 60
ROWS_PER_CONSTANT = 60
REFERENCES = 10  # right reasonings of the same answer, with which a reasoning is compared for the AUC
SEED = 0


@dataclass(frozen=True)
class Case:
    """A question, a reasoning for it, and whether its answer was right."""

    sample: Sample
    reasoning: str
    right: bool


def read_cases(path: Path, half: str) -> list[Case]:
    cases = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        if half != "all" and (number % 2 == 0) != (half == "dev"):
            continue
        text = thought(row["completion"])
        if not text or not text.strip():
            continue
        sample = Sample(
            row["id"], row["question"], row["answer"], "choice", row["group"], "file", options=tuple(row["options"])
        )
        right = answer.grade(answer.read(row["completion"], sample), sample).strict_outcome == "correct"
        cases.append(Case(replace(sample, explanation=text.strip()), text.strip(), right))
    return cases


def phantom_cases() -> list[Case]:
    """The explanations of nano; a wrong case is the explanation of another image that leads to another answer."""
    draw = random.Random(SEED)
    samples = phantom.samples("train", PHANTOM_ROWS)
    cases = []
    for sample in samples:
        alike = [other for other in samples if other.question == sample.question and other.id != sample.id]
        wrong = [other for other in alike if other.answer != sample.answer]
        right = [other for other in alike if other.answer == sample.answer]
        if right and wrong:
            cases.append(Case(sample, draw.choice(right).explanation, True))
            cases.append(Case(sample, draw.choice(wrong).explanation, False))
    return cases


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Area under the ROC curve, ties counted half."""
    positive = np.array(labels, dtype=bool)
    wins, losses = int(positive.sum()), int((~positive).sum())
    if not wins or not losses:
        return None
    return round(float((rankdata(scores)[positive].sum() - wins * (wins + 1) / 2) / (wins * losses)), 4)


def milliseconds(reward: rewards.Weighted, samples: Sequence[Sample]) -> float:
    """CPU time for 8 new completions of each of 8 prompts, with everything about the prompts in the cache."""
    prompts, texts = samples[:8], samples[-8:]
    for sample in prompts:
        reward(sample, f"<think>{sample.explanation}</think><answer>x</answer>")
    started = time.process_time()
    for number, sample in enumerate(prompts):
        for other in texts:
            reward(sample, f"<think>Image {number}. {other.explanation}</think><answer>x</answer>")
    return 1000 * (time.process_time() - started)


def measure(cases: Sequence[Case], by: str) -> dict[str, object]:
    draw = random.Random(SEED)
    explained = list({case.sample.id: case.sample for case in cases if case.right}.values())
    built = rewards.build([("reasoning", 1.0, {"by": by})])
    [reward] = rewards.with_corpus(built, explained)

    def pay(sample: Sample, text: str) -> float | None:
        return reward(
            sample, f"<think>{text}</think><answer>{sample.letter if sample.options else sample.answer}</answer>"
        ).value

    by_answer: dict[str, list[Sample]] = {}
    for sample in explained:
        by_answer.setdefault(sample.answer, []).append(sample)

    def others(sample: Sample, same_answer: bool) -> list[Sample]:
        pool = by_answer[sample.answer] if same_answer else explained
        return [other for other in pool if other.id != sample.id and (same_answer or other.answer != sample.answer)]

    words = Counter(word for sample in explained for word in sample.explanation.lower().split())
    salad = " ".join(word for word, _ in words.most_common(SALAD_WORDS))
    tried = draw.sample(explained, min(CONSTANTS_TRIED, len(explained)))
    judged = draw.sample(explained, min(ROWS_PER_CONSTANT, len(explained)))
    best = max(
        tried,
        key=lambda text: fmean(pay(sample, text.explanation) or 0.0 for sample in judged if sample.id != text.id),
    )
    texts: dict[str, Callable[[Sample], str | None]] = {
        "gold": lambda sample: sample.explanation,
        "right reasoning, same answer": lambda sample: _pick(draw, others(sample, True)),
        "another image, any answer": lambda sample: _pick(
            draw, [other for other in explained if other.id != sample.id]
        ),
        "another image, other answer": lambda sample: _pick(draw, others(sample, False)),
        "salad of frequent words": lambda _: salad,
        "best constant text": lambda sample: best.explanation if sample.id != best.id else None,
        "sorted words of gold": lambda sample: " ".join(sorted(sample.explanation.split())),
        "reversed words of gold": lambda sample: " ".join(reversed(sample.explanation.split())),
    }
    values = {
        name: [value for sample in explained if (text := text_of(sample)) and (value := pay(sample, text)) is not None]
        for name, text_of in texts.items()
    }
    same, other = values["right reasoning, same answer"], values["another image, other answer"]
    scores, labels = [], []
    for case in cases:
        pool = [other for other in by_answer.get(case.sample.answer, []) if other.id != case.sample.id]
        references = (
            [case.sample]
            if case.sample.explanation != case.reasoning
            else draw.sample(pool, min(REFERENCES, len(pool)))
        )
        of_references = [value for reference in references if (value := pay(reference, case.reasoning)) is not None]
        if of_references:
            scores.append(fmean(of_references))
            labels.append(case.right)
    abstained = sum(pay(sample, sample.explanation) is None for sample in explained)
    area = auc(scores, labels)
    return {
        "by": by,
        "explanations": len(explained),
        "abstained": abstained,
        "right": sum(labels),
        "wrong": len(labels) - sum(labels),
        "auc": area,
        "auc_same_answer": auc(same + other, [True] * len(same) + [False] * len(other)),
        "pay": {name: round(fmean(of_text), 4) if of_text else None for name, of_text in values.items()},
        "milliseconds_for_64": round(milliseconds(reward, explained), 2),
    }


def _pick(draw: random.Random, samples: Sequence[Sample]) -> str | None:
    return draw.choice(samples).explanation if samples else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=Path, nargs="*", default=[])
    parser.add_argument("--half", choices=("dev", "held-out", "all"), default="held-out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    corpora = {"phantom": phantom_cases()} | {path.stem: read_cases(path, options.half) for path in options.completions}
    results = [
        {"corpus": name, "half": "all" if name == "phantom" else options.half, **measure(cases, by)}
        for name, cases in corpora.items()
        for by in ("lexical", "findings")
    ]
    for result in results:
        print(json.dumps(result, indent=1))
    if options.out:
        write_json(options.out, {"format": 1, "results": results})


if __name__ == "__main__":
    main()
