"""lowmed's rewards as TRL's reward functions, every completion recorded with every score and its reason."""

from collections.abc import Callable, Sequence
from typing import Any

from lowmed.engine.rows import Row
from lowmed.rewards import Score, Weighted
from lowmed.run import Run

RewardFunction = Callable[..., list[float | None]]


def functions(
    rewards: Sequence[Weighted], rows: Sequence[Row], end_ids: Sequence[int], run: Run
) -> list[RewardFunction]:
    """One TRL reward function a reward, in order; the last one called writes the batch to rollouts.jsonl."""
    scores: dict[str, list[Score]] = {}

    def function(reward: Weighted) -> RewardFunction:
        def score(
            completions: list[list[dict[str, str]]],
            completion_ids: list[list[int]],
            row: list[int],
            trainer_state: Any,
            **_others: Any,
        ) -> list[float | None]:
            texts = [messages[0]["content"] for messages in completions]
            batch = [reward(rows[number].sample, text) for number, text in zip(row, texts, strict=True)]
            scores[reward.name] = batch
            if len(scores) == len(rewards):
                ended = [bool(ids) and ids[-1] in end_ids for ids in completion_ids]
                update = trainer_state.global_step + 1
                run.append("rollouts.jsonl", _records(update, row, texts, completion_ids, ended))
                scores.clear()
            return [found.value for found in batch]

        score.__name__ = reward.name
        return score

    def _records(
        update: int, numbers: list[int], texts: list[str], ids: list[list[int]], ended: list[bool]
    ) -> list[dict[str, Any]]:
        return [
            {
                "update": update,
                "row": number,
                "id": rows[number].sample.id,
                "wording": rows[number].wording,
                "completion": texts[place],
                "tokens": len(ids[place]),
                "finish_reason": "stop" if ended[place] else "length",
                "scores": {
                    name: {"value": batch[place].value, "why": batch[place].why} for name, batch in scores.items()
                },
            }
            for place, number in enumerate(numbers)
        ]

    return [function(reward) for reward in rewards]
