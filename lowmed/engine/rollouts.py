"""lowmed's rewards as TRL's reward functions, every completion recorded with every score and its reason."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from lowmed.engine import canaries
from lowmed.engine.training_data import TrainingRow
from lowmed.prompt import CompletionFormat
from lowmed.rewards import Rollout, Score, Weighted, values_after_gates
from lowmed.run import Run

RewardFunction = Callable[..., list[float | None]]
# Row numbers, images of each, completion texts and token ids -> likelihood of each answer, None where unasked.
Likelihood = Callable[[list[int], list[Any], list[str], list[list[int]]], list[float | None]]


def reward_functions(
    rewards: Sequence[Weighted],
    rows: Sequence[TrainingRow],
    end_ids: Sequence[int],
    run: Run,
    *,
    completion_format: CompletionFormat = "think_answer",
    canary_steps: int | None = None,
    steps_per_batch: int = 1,
    likelihood: Likelihood | None = None,
) -> list[RewardFunction]:
    """One TRL reward function a reward, in order.

    TRL calls them one after the other for each batch. The first scores the batch by all rewards, group by group, and
    writes it to rollouts.jsonl: a gate decides about the others, and a judge is asked about all completions together. What
    TRL is given is what is paid after the gates; the record holds both.

    Args:
        rewards: of the recipe.
        rows: the questions of the run, by their number.
        end_ids: tokens that end a completion.
        run: where the record is written.
        completion_format: the form that the prompts ask for.
        canary_steps: steps between two lines of canaries.jsonl.
        steps_per_batch: optimizer steps on the same completions.
        likelihood: who knows how likely the answers are, for rewards that need it.
    """
    given: list[dict[str, float | None]] = []

    def score(
        completions: list[list[dict[str, str]]],
        completion_ids: list[list[int]],
        row: list[int],
        trainer_state: Any,
        images: list[Any] | None = None,
        **_others: Any,
    ) -> None:
        texts = [messages[0]["content"] for messages in completions]
        likely = (
            likelihood(row, images or [None] * len(row), texts, completion_ids) if likelihood else [None] * len(row)
        )
        rollouts = [
            Rollout(text, len(ids), result) for text, ids, result in zip(texts, completion_ids, likely, strict=True)
        ]
        scores = _scores(rewards, rows, row, rollouts)
        given[:] = [values_after_gates(rewards, each) for each in scores]
        step = trainer_state.global_step + 1
        reasons = ["stop" if ids and ids[-1] in end_ids else "length" for ids in completion_ids]
        run.append(
            "rollouts.jsonl",
            [
                _record(step, number, rows[number], rollout, reason, said, values)
                for number, rollout, reason, said, values in zip(row, rollouts, reasons, scores, given, strict=True)
            ],
        )
        # A batch is due where any of its steps is; nothing is remembered, so that a resumed run does the same.
        if canary_steps and (step + steps_per_batch - 1) // canary_steps > (step - 1) // canary_steps:
            seen = [(rows[number].sample, text) for number, text in zip(row, texts, strict=True)]
            run.append("canaries.jsonl", [{"step": step, **canaries.canary_rates(rewards, seen, completion_format)}])

    def function(reward: Weighted) -> RewardFunction:
        def values(**batch: Any) -> list[float | None]:
            if reward is rewards[0]:
                score(**batch)
            return [each[reward.name] for each in given]

        values.__name__ = reward.name
        return values

    return [function(reward) for reward in rewards]


def _scores(
    rewards: Sequence[Weighted], rows: Sequence[TrainingRow], numbers: list[int], rollouts: list[Rollout]
) -> list[dict[str, Score]]:
    """What each reward says about each completion; the completions to one question stand next to each other."""
    for reward in rewards:
        reward.prepare([(rows[number].sample, each.text) for number, each in zip(numbers, rollouts, strict=True)])
    result: list[dict[str, Score]] = []
    for number, places in groupby(range(len(numbers)), key=lambda place: numbers[place]):
        group = [rollouts[place] for place in places]
        columns = [reward.of_group(rows[number].sample, group) for reward in rewards]
        names = [reward.name for reward in rewards]
        result += [dict(zip(names, said, strict=True)) for said in zip(*columns, strict=True)]
    return result


def _record(
    step: int,
    number: int,
    row: TrainingRow,
    rollout: Rollout,
    reason: str,
    scores: Mapping[str, Score],
    given: Mapping[str, float | None],
) -> dict[str, Any]:
    gated = {name for name, score in scores.items() if score.value != given[name]}
    return {
        "step": step,
        "row": number,
        "id": row.sample.id,
        "wording": row.wording,
        "completion": rollout.text,
        "tokens": rollout.tokens,
        "finish_reason": reason,
        "scores": {
            name: {"value": score.value, "why": score.why, **({"paid": given[name]} if name in gated else {})}
            for name, score in scores.items()
        },
    }
