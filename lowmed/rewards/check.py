"""Whether rewards pay what they should: all to the gold completions, and to no hack more than to an honest error.

Rewards that pay length by design (`pays_length`) are left out of the verdict and named as a known weakness.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from lowmed import prompt
from lowmed.rewards import hacks
from lowmed.rewards.score import Score
from lowmed.rewards.weighted import Weighted, total
from lowmed.sample import KINDS, Sample

HACKED_PER_KIND = 12  # questions of each kind that the battery is tried on
JUDGED = 8  # gold completions that a judge is asked about; each may cost a call
FIRST_SHOWN = 3
_ROUNDING = 1e-9


def check_rewards(rewards: Sequence[Weighted], samples: Sequence[Sample], family: prompt.Family) -> dict[str, Any]:
    """What the rewards pay for gold completions, for other spellings of them, and for hacks.

    Returns:
        `gold`, one entry a reward, as printed by `lowmed check`; `variants` that earn less than the gold completion;
        `hacks`, one entry for each hack and kind of question, with mean totals; `by_design`, names of rewards that pay
        length; `failures`, in words, empty where the rewards hold.
    """
    strict = [reward for reward in rewards if not reward.pays_length]
    references = [(sample, prompt.reference_completion(family, sample)) for sample in samples]
    gold = [_gold(reward, references) for reward in rewards]
    chosen = [sample for kind in KINDS for sample in _spread([one for one in samples if one.kind == kind])]
    below = [line for sample in chosen for line in _variants_below(strict, sample, family)]
    tried = [line for kind in KINDS for line in _hacked(rewards, strict, chosen, kind, family.completion_format)]
    failures = [
        f"{line['below_full']} of {line['gold_replies']} gold replies earn less than all of `{line['reward']}`"
        for line in gold
        if line["below_full"] and not line["by_design"]
    ]
    failures += [f"{line['spelling']} of the gold reply to {line['sample']} earns less" for line in below[:FIRST_SHOWN]]
    failures += [
        f"{line['hack']!r} earns {line['earns']:.2f} on {line['kind']} questions, an honest error {line['honest']:.2f}"
        for line in tried
        if line["wins"]
    ]
    return {
        "gold": gold,
        "variants": below,
        "hacks": tried,
        "by_design": [reward.name for reward in rewards if reward.pays_length],
        "failures": failures,
    }


def scored(rewards: Sequence[Weighted], sample: Sample, completion: str) -> dict[str, Score]:
    """What each reward says about one completion, by its name."""
    return {reward.name: reward(sample, completion) for reward in rewards}


def _gold(reward: Weighted, asked: Sequence[tuple[Sample, str]]) -> dict[str, Any]:
    if hasattr(reward.reward, "judge"):
        asked = asked[:JUDGED]
    reward.prepare(asked)
    scores = [(sample, reward(sample, completion)) for sample, completion in asked]
    below = [(sample.id, score.why) for sample, score in scores if score.value is not None and score.value < 1]
    return {
        "reward": reward.name,
        "weight": reward.weight,
        "gate": reward.gate,
        "gold_replies": len(scores),
        "abstained": sum(score.value is None for _, score in scores),
        "below_full": len(below),
        "by_design": reward.pays_length,
        "first": below[:FIRST_SHOWN],
    }


def _spread(samples: Sequence[Sample]) -> list[Sample]:
    """A few samples from all over a list, always the same ones."""
    return list(samples[:: max(1, -(-len(samples) // HACKED_PER_KIND))])


def _variants_below(rewards: Sequence[Weighted], sample: Sample, family: prompt.Family) -> Iterable[dict[str, Any]]:
    reference = prompt.reference_completion(family, sample)
    full = total(rewards, scored(rewards, sample, reference))
    for name, text in hacks.variants(sample, reference).items():
        earned = total(rewards, scored(rewards, sample, text))
        if earned < full - _ROUNDING:
            yield {"sample": sample.id, "spelling": name, "earns": earned, "gold": full}


def _hacked(
    rewards: Sequence[Weighted],
    strict: Sequence[Weighted],
    samples: Sequence[Sample],
    kind: str,
    completion_format: prompt.CompletionFormat,
) -> list[dict[str, Any]]:
    """Mean totals of each hack and of an honest error on the questions of a kind; `wins` leaves length rewards out."""
    asked = [sample for sample in samples if sample.kind == kind]
    texts = [
        {"": hacks.honest_wrong(sample, completion_format), **hacks.hacks(sample, completion_format)}
        for sample in asked
    ]
    for reward in rewards:
        reward.prepare([(sample, text) for sample, said in zip(asked, texts, strict=True) for text in said.values()])
    scores = [
        {name: scored(rewards, sample, text) for name, text in said.items()}
        for sample, said in zip(asked, texts, strict=True)
    ]

    def mean(name: str, paying: Sequence[Weighted]) -> float:
        return sum(total(paying, each[name]) for each in scores) / len(scores)

    names = [name for name in scores[0] if name] if scores else []
    return [
        {
            "hack": name,
            "kind": kind,
            "questions": len(asked),
            "earns": mean(name, strict),
            "honest": mean("", strict),
            "wins": mean(name, strict) > mean("", strict) + _ROUNDING,
            "wins_by_design": mean(name, rewards) > mean("", rewards) + _ROUNDING,
        }
        for name in names
    ]
