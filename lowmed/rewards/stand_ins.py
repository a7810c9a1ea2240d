"""Rewards as the checks try them: single texts, with a stand-in for what only training has.

A reward that sees the group gets the text among right completions. One that needs a measurement of the model gets the
best one that is possible. So a text that earns nothing here earns nothing in such a group whatever the model measures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lowmed.prompt import CompletionFormat
from lowmed.rewards.hacks import honest_right_completion
from lowmed.rewards.score import MEASURED, GroupReward, Rollout, Score
from lowmed.rewards.weighted import Weighted
from lowmed.sample import Sample

OTHERS = 7  # right completions next to the text that is tried


@dataclass(frozen=True)
class _AmongRightCompletions:
    reward: GroupReward
    completion_format: CompletionFormat

    def __call__(self, sample: Sample, completion: str) -> Score:
        right = honest_right_completion(sample, self.completion_format)
        group = [_at_best(completion), *[_at_best(right)] * OTHERS]
        return self.reward.of_group(sample, group)[0]


def with_stand_ins(rewards: Sequence[Weighted], completion_format: CompletionFormat) -> list[Weighted]:
    """The rewards, with stand-ins for groups and measurements where they need them.

    Args:
        rewards: the rewards, with their training samples.
        completion_format: the form of completion that the prompts request.
    """
    return [
        replace(weighted, reward=_AmongRightCompletions(weighted.reward, completion_format))
        if isinstance(weighted.reward, GroupReward) and needs_stand_in(weighted)
        else weighted
        for weighted in rewards
    ]


def needs_stand_in(weighted: Weighted) -> bool:
    """Whether a reward cannot score a single text."""
    return bool(weighted.needs & (MEASURED | {"group"}))


def _at_best(text: str) -> Rollout:
    return Rollout(text, 0, likelihood=1.0, image_log_ratio=math.inf)
