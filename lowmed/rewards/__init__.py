"""Rewards: pure functions of one sample and one completion, one idea a module.

A value of None means that the reward abstains; 0 is a verdict.
"""

from lowmed.rewards.registry import (
    REWARDS,
    build,
    code_changes,
    code_digests,
    for_recipe,
    needs,
    needs_of,
    require_trusted,
)
from lowmed.rewards.score import MEASURED, Need, Reward, Rollout, Score
from lowmed.rewards.weighted import Weighted, total, values_after_gates, with_corpus

__all__ = [
    "MEASURED",
    "REWARDS",
    "Need",
    "Reward",
    "Rollout",
    "Score",
    "Weighted",
    "build",
    "code_changes",
    "code_digests",
    "for_recipe",
    "needs",
    "needs_of",
    "require_trusted",
    "total",
    "values_after_gates",
    "with_corpus",
]
