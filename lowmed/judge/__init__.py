"""A judge for open answers and for reasoning: asked by rewards and by evaluation, and trusted once it was measured."""

from lowmed.judge.calibration import judge_for_rewards
from lowmed.judge.judge import Judge
from lowmed.judge.rubric import ANSWER, CLINICAL, RUBRICS, Query, Rubric
from lowmed.judge.verdict import Verdict

__all__ = ["ANSWER", "CLINICAL", "RUBRICS", "Judge", "Query", "Rubric", "Verdict", "judge_for_rewards"]
