"""Evaluation during training: its questions, its figures, and which evaluation is the best."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.data.split import DataSplit
from lowmed.evaluation.intervals import mean_interval
from lowmed.evaluation.metrics import Row, groups_of, mean
from lowmed.evaluation.split_size import half_width
from lowmed.recipe import Recipe
from lowmed.rewards import Rollout, Weighted, total
from lowmed.sample import Sample

FILE, COMPLETIONS = "dev.jsonl", "dev_completions.jsonl"
BAR = 20  # characters of a full bar
Line = Mapping[str, Any]


def dev_questions(data_split: DataSplit, recipe: Recipe) -> tuple[Sample, ...]:
    """The questions of every evaluation of a run: a random subset of dev, drawn by content and seed."""
    identity = {row.id: row.text + row.images for row in data_split.rows}

    def key(sample: Sample) -> str:
        return hashlib.sha256(f"{recipe.seed} {identity.get(sample.id, sample.id)}".encode()).hexdigest()

    return tuple(sorted(data_split.dev, key=key)[: recipe.dev.questions])


def questions_digest(data_split: DataSplit, questions: Sequence[Sample]) -> str:
    """A digest of the questions, by which the evaluations of a run are comparable."""
    identity = {row.id: row.text + row.images for row in data_split.rows}
    contents = sorted(identity.get(sample.id, sample.id) for sample in questions)
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()[:12]


def figures(rows: Sequence[Row]) -> dict[str, float | int]:
    """The figures of one evaluation from its graded completions.

    `accuracy` is the strict accuracy, the one that rewards train; a JSON answer counts by the F1 of its fields, a text
    by its token F1, a report by its ROUGE-L.
    """
    values = [_value(row) for row in rows]
    low, high = mean_interval(values, groups_of(rows))
    return {
        "questions": len(rows),
        "accuracy": mean(values),
        "low": low,
        "high": high,
        "unread": mean([row["outcome"] == "unread" for row in rows]),
        "truncated": mean([row["finish_reason"] == "length" for row in rows]),
        "tokens": mean([row["tokens"] for row in rows]),
    }


def mean_rewards(rewards: Sequence[Weighted], completions: Sequence[tuple[Sample, str, int]]) -> dict[str, float]:
    """The mean of each reward and of their weighted sum, over single completions.

    Rewards that call a judge, or need a measurement of the model or a group, are left out, and so is then the sum.

    Args:
        rewards: the rewards of the recipe.
        completions: sample, completion and its number of tokens.
    """
    computed = [reward for reward in rewards if reward.needs <= {"embedding"}]
    for reward in computed:
        reward.prepare([(sample, text) for sample, text, _ in completions])
    scores = [
        {reward.name: reward.of_group(sample, [Rollout(text, tokens)])[0] for reward in computed}
        for sample, text, tokens in completions
    ]
    result = {}
    if computed and len(computed) == len(rewards):
        result["reward"] = mean([total(rewards, by_reward) for by_reward in scores])
    for reward in computed:
        values = [value for by_reward in scores if (value := by_reward[reward.name].value) is not None]
        if values:
            result[f"rewards/{reward.name}"] = mean(values)
    return result


def comparable(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The evaluations of the same questions as the last one: the data of a run may have changed."""
    return [line for line in lines if line["questions_digest"] == lines[-1]["questions_digest"]]


def best_line(lines: Sequence[Line]) -> Line | None:
    """The evaluation with the highest accuracy after at least one step, the earliest of equal ones; None if none."""
    return max((line for line in lines if line["step"] > 0), key=lambda line: line["accuracy"], default=None)


def is_exhausted(lines: Sequence[Line], patience: int | None) -> bool:
    """Whether the last `patience` evaluations did not exceed the best accuracy before them."""
    best = best_line(lines)
    if patience is None or best is None:
        return False
    return len([line for line in lines if line["step"] > best["step"]]) >= patience


def describe(recipe: Recipe, data_split: DataSplit) -> list[str]:
    """What is evaluated during training and for what, as lines to print; empty without dev questions."""
    if not data_split.dev:
        return []
    spec, number = recipe.dev, min(recipe.dev.questions, len(data_split.dev))
    stop = f", stops after {spec.patience} evaluations without a better one" if spec.patience else ""
    times = f"every {spec.eval_steps} steps ({spec.evaluations(recipe.method.max_steps)} evaluations)"
    return [
        f"{number:,} of {len(data_split.dev):,} questions, {times}; keeps the {spec.keep} adapter{stop}",
        f"accuracies of {number} questions differ by chance: 95 % interval of 0.5 is ± {half_width(number):.2f}",
    ]


def line_text(line: Line) -> str:
    """One evaluation as a line with a bar, so that the lines of a run form a curve."""
    filled = round(BAR * line["accuracy"])
    bar = "#" * filled + "." * (BAR - filled)
    interval = f"({line['low']:.2f} to {line['high']:.2f})"
    parts = [
        f"step {line['step']:>5}  {bar}  accuracy {line['accuracy']:.3f} {interval}",
        *([f"reward {line['reward']:.3f}"] if "reward" in line else []),
        f"unread {line['unread']:.0%}",
        f"{line['tokens']:.0f} tokens",
        *([f"entropy {line['entropy']:.2f}", f"KL {line['kl_base']:.3f}"] if "kl_base" in line else []),
    ]
    return ", ".join(parts)


def summary(lines: Sequence[Line], keep: str) -> list[str]:
    """What the evaluations of a run showed, as sentences; empty without an evaluation after a step.

    Args:
        lines: the evaluations, in the order of their steps.
        keep: `best` or `last`.
    """
    best = best_line(lines)
    if best is None:
        return []
    trained = [line for line in lines if line["step"] > 0]
    chosen = best if keep == "best" else trained[-1]
    before = next((line for line in lines if line["step"] == 0), None)
    text = f"the adapter is that of step {chosen['step']}: dev accuracy {chosen['accuracy']:.3f}"
    if keep == "best":
        text += f", the highest of {len(trained)} evaluations and therefore biased upwards"
    elif best["accuracy"] > chosen["accuracy"]:
        text += f"; the highest was {best['accuracy']:.3f} at step {best['step']} (dev.keep=best keeps that one)"
    sentences = [text]
    if before and chosen["accuracy"] <= before["accuracy"]:
        sentences.append(f"it is not better than before training ({before['accuracy']:.3f})")
    elif before:
        sentences.append(f"before training {before['accuracy']:.3f}")
    return sentences


def _value(row: Row) -> float:
    if row["kind"] == "json":
        return float((row["fields"] or {}).get("f1") or 0.0)
    if row["kind"] == "report":
        return float((row["report"] or {}).get("rouge_l") or 0.0)
    if row["kind"] == "boxes":
        counts = row["boxes"] or {}
        return float(counts["iou"] or 0.0) if counts.get("gold") else float(counts.get("predicted") == 0)
    if row["kind"] == "text":
        return float(row["f1"] or 0.0)
    return float(row["strict_outcome"] == "correct")
