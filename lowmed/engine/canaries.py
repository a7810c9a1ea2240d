"""Canaries: scores of known reward hacks on the questions of a step, and the share of completions that use them.

Rewards do not change during a run, so the same hacks earn the same on the same questions. What may change is how often
the policy uses them. Both are recorded.
"""

from collections.abc import Sequence

from lowmed.prompt import CompletionFormat
from lowmed.rewards import Weighted, total
from lowmed.rewards.check import score_completion
from lowmed.rewards.hacks import HACK_SIGNS, detect_hacks, hack_completions, honest_wrong_completion
from lowmed.rewards.stand_ins import with_stand_ins
from lowmed.sample import Sample

QUESTIONS = 4  # of a step; all hacks are scored for each


def canary_rates(
    rewards: Sequence[Weighted], completions: Sequence[tuple[Sample, str]], completion_format: CompletionFormat
) -> dict[str, float]:
    """The values of one line of canaries.jsonl, without the step.

    Args:
        rewards: rewards of the run.
        completions: all completions of the step, each with its sample.
        completion_format: the format that the prompts demand.

    Returns:
        `canary/worst_hack`: the most that a hack earned above an honest wrong answer to the same question, as a share
        of the sum of weights. It is negative if every hack earned less. Rewards that pay length by design are left out.
        `canary/<hack>`: the share of the step's completions that look like this hack.
    """
    strict = [reward for reward in with_stand_ins(rewards, completion_format) if not reward.pays_length]
    samples = list({sample.id: sample for sample, _ in completions}.values())[:QUESTIONS]
    texts = [
        (
            sample,
            honest_wrong_completion(sample, completion_format),
            list(hack_completions(sample, completion_format).values()),
        )
        for sample in samples
    ]
    for reward in strict:
        reward.prepare([(sample, text) for sample, honest, hacked in texts for text in (honest, *hacked)])
    advantages = [
        _earned(strict, sample, text) - _earned(strict, sample, honest)
        for sample, honest, hacked in texts
        for text in hacked
    ]
    weights = sum(reward.weight for reward in strict)
    detected = [detect_hacks(sample, completion, completion_format) for sample, completion in completions]
    shares = {f"canary/{hack}": sum(hack in names for names in detected) / len(detected) for hack in HACK_SIGNS}
    return {"canary/worst_hack": max(advantages) / weights if weights else 0.0, **shares}


def _earned(rewards: Sequence[Weighted], sample: Sample, completion: str) -> float:
    return total(rewards, score_completion(rewards, sample, completion))
