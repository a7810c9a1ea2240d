"""What a completion earns, one idea a file: pure, one sample at a time; None has nothing to say, 0 is a verdict."""

from lowmed.rewards.registry import REWARDS, build, for_recipe
from lowmed.rewards.score import Reward, Rollout, Score
from lowmed.rewards.weighted import Weighted, paid, total

__all__ = ["REWARDS", "Reward", "Rollout", "Score", "Weighted", "build", "for_recipe", "paid", "total"]
