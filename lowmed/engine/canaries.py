"""Known hacks, tried on the questions of an update, and looked for in its completions.

The rewards never change during a run, so texts made from the same questions would earn the same each time: what can
change is which hacks the policy itself has found. Both are recorded.
"""

from collections.abc import Sequence

from lowmed.prompt import CompletionFormat
from lowmed.rewards import Weighted, total
from lowmed.rewards.check import score_completion
from lowmed.rewards.hacks import HACK_SIGNS, detect_hacks, hack_completions, honest_wrong_completion
from lowmed.sample import Sample

QUESTIONS = 4  # of an update; each costs the whole battery


def canary_rates(
    rewards: Sequence[Weighted], seen: Sequence[tuple[Sample, str]], completion_format: CompletionFormat
) -> dict[str, float]:
    """The figures of one line of canaries.jsonl, without its update.

    Args:
        rewards: of the run.
        seen: sample and completion of each completion of the update.
        completion_format: the form that the prompts ask for.

    Returns:
        `canary/worst_hack`: the most that any hack earned above an honest wrong answer to the same question, as a
        share of all weights, negative where none came near it; rewards that pay length by design are left out.
        `canary/<look>`: the share of the update's completions that look like this hack.
    """
    strict = [reward for reward in rewards if not reward.pays_length]
    samples = list({sample.id: sample for sample, _ in seen}.values())[:QUESTIONS]
    texts = [
        (
            sample,
            honest_wrong_completion(sample, completion_format),
            list(hack_completions(sample, completion_format).values()),
        )
        for sample in samples
    ]
    for reward in strict:
        reward.prepare([(sample, text) for sample, honest, said in texts for text in (honest, *said)])
    over = [
        _earned(strict, sample, text) - _earned(strict, sample, honest)
        for sample, honest, said in texts
        for text in said
    ]
    weights = sum(reward.weight for reward in strict)
    kinds = [detect_hacks(sample, completion, completion_format) for sample, completion in seen]
    shares = {f"canary/{look}": sum(look in kind for kind in kinds) / len(kinds) for look in HACK_SIGNS}
    return {"canary/worst_hack": max(over) / weights if weights else 0.0, **shares}


def _earned(rewards: Sequence[Weighted], sample: Sample, completion: str) -> float:
    return total(rewards, score_completion(rewards, sample, completion))
