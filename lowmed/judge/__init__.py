"""A judge for open answers and for reasoning: asked by rewards and by evaluation, and trusted once it was measured."""

from lowmed.judge.asking import Judge
from lowmed.judge.calibration import for_rewards
from lowmed.judge.rubric import ANSWER, CLINICAL, RUBRICS, Query, Rubric
from lowmed.judge.verdict import Verdict

__all__ = ["ANSWER", "CLINICAL", "RUBRICS", "Judge", "Query", "Rubric", "Verdict", "for_rewards"]
