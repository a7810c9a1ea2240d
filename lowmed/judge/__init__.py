"""A judge model for open answers and for reasoning, used by rewards and by evaluation once it is calibrated."""

from lowmed.judge.calibration import judge_for_rewards
from lowmed.judge.judge import Judge
from lowmed.judge.rubric import ANSWER, CLINICAL, RUBRICS, Query, Rubric
from lowmed.judge.verdict import Verdict

__all__ = ["ANSWER", "CLINICAL", "RUBRICS", "Judge", "Query", "Rubric", "Verdict", "judge_for_rewards"]
