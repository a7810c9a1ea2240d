"""Rewards that abstain on most training questions: a run with such a reward is silently a run without it.

A reward abstains on a question if it abstains on its gold completion and on an honest wrong one. The second names
question, modality and answer, so a reward that scores only completions with such words applies to the question too.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lowmed import prompt
from lowmed.rewards.hacks import honest_wrong_completion
from lowmed.rewards.weighted import Weighted, with_corpus
from lowmed.sample import KINDS, Sample

MAX_ABSTAINED = 0.5  # share of the questions of the reward's kinds
MAX_QUESTIONS = 2000  # of more training questions, a random subset of this size is scored
_SEED = 0


@dataclass(frozen=True)
class Abstention:
    """Abstentions of one reward on training questions.

    Attributes:
        reward: name of the reward.
        questions: questions of the kinds that the reward is for.
        abstained: those on which the reward abstains.
        why: its most frequent reason.
        drawn: whether the questions are a random subset of the training questions.
    """

    reward: str
    questions: int
    abstained: int
    why: str
    drawn: bool

    @property
    def on_most(self) -> bool:
        """Whether the reward abstains on more than half of the questions; also if none is of its kinds."""
        return self.questions == 0 or self.abstained > MAX_ABSTAINED * self.questions

    def __str__(self) -> str:
        drawn = " (drawn at random)" if self.drawn else ""
        if self.questions == 0:
            return f"the reward `{self.reward}` abstains on every training question{drawn}: {self.why}"
        counts = f"{self.abstained:,} of {self.questions:,} training questions{drawn}"
        return f"the reward `{self.reward}` abstains on {counts}: {self.why}"


def abstentions(
    rewards: Sequence[Weighted], samples: Sequence[Sample], family: prompt.Family
) -> tuple[Abstention, ...]:
    """The abstentions of each reward, without a call of a judge or an embedding model.

    A reward that is for some kinds of questions only (its attribute `kinds`) is counted on those.

    Args:
        rewards: the rewards.
        samples: the training questions.
        family: the prompt family of training, which gives the form of completion.
    """
    chosen = gold_subset(samples)
    rewards = with_corpus(rewards, samples)
    return tuple(_abstention(reward, chosen, family, drawn=len(chosen) < len(samples)) for reward in rewards)


def gold_subset(samples: Sequence[Sample]) -> Sequence[Sample]:
    """All samples, or `MAX_QUESTIONS` of them in their order, drawn with a fixed seed."""
    if len(samples) <= MAX_QUESTIONS:
        return samples
    return [samples[index] for index in sorted(random.Random(_SEED).sample(range(len(samples)), MAX_QUESTIONS))]


def _abstention(reward: Weighted, samples: Sequence[Sample], family: prompt.Family, *, drawn: bool) -> Abstention:
    kinds = getattr(reward.reward, "kinds", KINDS)
    of_kind = [sample for sample in samples if sample.kind in kinds]
    reasons = Counter(_reasons(reward, of_kind or samples, family))
    why = reasons.most_common(1)[0][0] if reasons else ""
    return Abstention(reward.name, len(of_kind), reasons.total() if of_kind else 0, why, drawn)


def _reasons(reward: Weighted, samples: Iterable[Sample], family: prompt.Family) -> Iterable[str]:
    """The reason of each abstention.

    A reward that needs more than the completion gets an empty one. It scores that by rule, or abstains if it does not
    apply to the sample.
    """
    for sample in samples:
        score = reward(sample, "" if reward.needs else prompt.reference_completion(family, sample))
        if score.value is None and (reward.needs or _abstains_on_wrong_completion(reward, sample, family)):
            yield score.why


def _abstains_on_wrong_completion(reward: Weighted, sample: Sample, family: prompt.Family) -> bool:
    return reward(sample, honest_wrong_completion(sample, family.completion_format)).value is None
