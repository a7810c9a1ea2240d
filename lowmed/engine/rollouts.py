"""lowmed's rewards as TRL's reward functions. Every completion is recorded with all scores and their reasons."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any

from lowmed import processes
from lowmed.engine import canaries
from lowmed.engine.right_completions import Measure
from lowmed.engine.training_data import TrainingRow
from lowmed.prompt import CompletionFormat
from lowmed.rewards import Rollout, Score, Weighted, values_after_gates
from lowmed.run import Run
from lowmed.sample import Sample

RewardFunction = Callable[..., list[float | None]]
NO_MEASURES: Mapping[str, Measure | None] = MappingProxyType({})


def reward_functions(
    rewards: Sequence[Weighted],
    rows: Sequence[TrainingRow],
    end_ids: Sequence[int],
    run: Run,
    *,
    completion_format: CompletionFormat = "think_answer",
    canary_steps: int | None = None,
    steps_per_batch: int = 1,
    measures: Mapping[str, Measure | None] = NO_MEASURES,
    opening: str = "",
) -> list[RewardFunction]:
    """One TRL reward function for each reward, in order.

    TRL calls them one after the other for each batch. The first one scores the batch with all rewards and records it
    in rollouts.jsonl: a gate changes the values of the other rewards, and a judge gets all completions at once. Each
    function returns the value after gates; the record contains both values. With several sources (`data.sources`), the
    mean reward of each source in the batch becomes a metric, `source/NAME/reward`.

    Args:
        rewards: rewards of the recipe.
        rows: all rows of the run; TRL passes their indices.
        end_ids: tokens that end a completion.
        run: where the record is written.
        completion_format: the format that the prompts demand.
        canary_steps: steps between two lines of canaries.jsonl; None for no such lines.
        steps_per_batch: optimizer steps on the same completions.
        measures: fields of `Rollout` -> their measurement by the model, or None if no reward needs it.
        opening: the part of each completion that its prompt contains, e.g. a pre-filled `<think>`.
    """
    paid_values: list[dict[str, float | None]] = []
    scheduled = len(rows) - run.recipe.method.spare_draws

    def score_batch(
        completions: list[list[dict[str, str]]],
        completion_ids: list[list[int]],
        row: list[int],
        trainer_state: Any,
        images: list[Any] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **_others: Any,
    ) -> None:
        texts = [opening + messages[0]["content"] for messages in completions]
        measured = {
            name: measure(row, images or [None] * len(row), texts, completion_ids)
            for name, measure in measures.items()
            if measure
        }
        rollouts = [
            Rollout(text, len(ids), **{name: values[index] for name, values in measured.items()})
            for index, (text, ids) in enumerate(zip(texts, completion_ids, strict=True))
        ]
        scores = processes.from_first(lambda: _scores(rewards, rows, row, rollouts))
        paid_values[:] = [values_after_gates(rewards, by_reward) for by_reward in scores]
        if log_metric and run.recipe.data.sources:
            for source, value in _means_by_source(rewards, rows, row, paid_values).items():
                log_metric(f"source/{source}/reward", value)
        step = trainer_state.global_step + 1
        reasons = ["stop" if ids and ids[-1] in end_ids else "length" for ids in completion_ids]
        run.append(
            "rollouts.jsonl",
            [
                _record(step, number, rows[number], rollout, reason, score, paid_value)
                for number, rollout, reason, score, paid_value in zip(
                    row, rollouts, reasons, scores, paid_values, strict=True
                )
            ],
        )
        # A line is due if it is due at any step of the batch. This needs no state, so that a resumed run agrees.
        # Completions that replace groups come after those of the step.
        if (
            canary_steps
            and processes.is_first()
            and row[0] < scheduled
            and (step + steps_per_batch - 1) // canary_steps > (step - 1) // canary_steps
        ):
            pairs = [(rows[number].sample, text) for number, text in zip(row, texts, strict=True)]
            run.append("canaries.jsonl", [{"step": step, **canaries.canary_rates(rewards, pairs, completion_format)}])

    def function(reward: Weighted) -> RewardFunction:
        def values(**batch: Any) -> list[float | None]:
            if reward is rewards[0]:
                score_batch(**batch)
            return [by_reward[reward.name] for by_reward in paid_values]

        values.__name__ = reward.name
        return values

    return [function(reward) for reward in rewards]


def _scores(
    rewards: Sequence[Weighted], rows: Sequence[TrainingRow], numbers: list[int], rollouts: list[Rollout]
) -> list[dict[str, Score]]:
    """The score of each completion by each reward. Completions of one prompt are adjacent."""
    for reward in rewards:
        reward.prepare([(rows[number].sample, one.text) for number, one in zip(numbers, rollouts, strict=True)])
    scores: list[dict[str, Score]] = []
    for number, indices in groupby(range(len(numbers)), key=lambda index: numbers[index]):
        scores += _of_group(rewards, rows[number].sample, [rollouts[index] for index in indices])
    return scores


def group_scores(rewards: Sequence[Weighted], sample: Sample, rollouts: list[Rollout]) -> list[dict[str, Score]]:
    """The score of each completion of one question by each reward."""
    for reward in rewards:
        reward.prepare([(sample, rollout.text) for rollout in rollouts])
    return _of_group(rewards, sample, rollouts)


def _of_group(rewards: Sequence[Weighted], sample: Sample, rollouts: list[Rollout]) -> list[dict[str, Score]]:
    names = [reward.name for reward in rewards]
    columns = [reward.of_group(sample, rollouts) for reward in rewards]
    return [dict(zip(names, of_rollout, strict=True)) for of_rollout in zip(*columns, strict=True)]


def _means_by_source(
    rewards: Sequence[Weighted],
    rows: Sequence[TrainingRow],
    numbers: Sequence[int],
    paid_values: Sequence[Mapping[str, float | None]],
) -> dict[str, float]:
    """The mean weighted sum of the rewards over the completions of each source."""
    sums: dict[str, list[float]] = {}
    for number, paid in zip(numbers, paid_values, strict=True):
        value = sum(reward.weight * (paid[reward.name] or 0.0) for reward in rewards)
        sums.setdefault(rows[number].sample.source, []).append(value)
    return {source: sum(values) / len(values) for source, values in sums.items()}


def _record(
    step: int,
    number: int,
    row: TrainingRow,
    rollout: Rollout,
    reason: str,
    scores: Mapping[str, Score],
    paid_values: Mapping[str, float | None],
) -> dict[str, Any]:
    gated = {name for name, score in scores.items() if score.value != paid_values[name]}
    return {
        "step": step,
        "row": number,
        "id": row.sample.id,
        "source": row.sample.source,
        "wording": row.wording,
        "completion": rollout.text,
        "tokens": rollout.tokens,
        "finish_reason": reason,
        "scores": {
            name: {"value": score.value, "why": score.why, **({"paid": paid_values[name]} if name in gated else {})}
            for name, score in scores.items()
        },
    }
