"""Agreement with the majority answer of the group: reinforcement learning without labels."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lowmed import answer
from lowmed.rewards.score import Need, Rollout, Score
from lowmed.sample import LETTERS, Kind, Sample

# A set of answers that exclude each other, and one of them.
Choice = tuple[Hashable, str]


@dataclass
class Majority:
    """1 for a completion that gives the majority answer of its group, else 0; no gold answer is used.

    share = votes / completions of the group; agreement = (share - prior) / (1 - prior). The answer with the highest
    agreement is the pseudo-gold answer, if the agreement is at least `min_share` and no other answer has the same one.
    Otherwise the reward abstains. Unread completions have no vote and earn 0. `prior` is the share of the answer among
    the completions to the other questions of the step: of yes and no, of the same options, of a letter, or of the same
    kind. It includes as many completions as a group has, spread evenly over the possible answers.

    TTRL (2504.16084) takes the most frequent answer of each group, whatever its share. The prior, `min_share` and the
    abstention are lowmed's: without them a frequent answer such as "yes" is paid wherever the model is in doubt. The
    reward abstains on questions for JSON or a long text.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"group"})
    kinds: ClassVar[tuple[Kind, ...]] = ("choice", "closed", "open", "number", "ordered")
    min_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.min_share <= 1:
            raise ValueError("min_share is a share above 0 and at most 1")
        self._votes: dict[str, Counter[Choice]] = {}  # of the present step, by sample id

    def prepare(self, completions: Sequence[tuple[Sample, str]]) -> None:
        """Count the answers of a step, which are the prior of each other."""
        votes: dict[str, Counter[Choice]] = defaultdict(Counter)
        for sample, completion in completions:
            if sample.kind in self.kinds:
                value = answer.read_without_gold(completion, sample).value
                votes[sample.id].update(_choices(sample, value) if value is not None else ())
        self._votes = dict(votes)

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion without a group: an unread one earns 0, for all others the reward abstains."""
        return self.of_group(sample, [Rollout(completion, 0)])[0]

    def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score the completions of one question."""
        if sample.kind not in self.kinds:
            return [Score(None, "a vote needs short answers")] * len(rollouts)
        read = [answer.read_without_gold(rollout.text, sample) for rollout in rollouts]
        votes = self._count(sample, [one.value for one in read])
        agreements = {value: self._agreement(sample, value, votes[value], len(rollouts)) for value in votes}
        best = max(agreements.values(), default=0.0)
        winners = [value for value, agreement in agreements.items() if agreement == best]
        decided = len(rollouts) > 1 and len(winners) == 1 and best >= self.min_share
        scores = []
        for one in read:
            if one.value is None:
                scores.append(Score(0.0, f"unread ({', '.join(one.flags) or one.source})"))
            elif not decided:
                scores.append(Score(None, f"no majority: the highest agreement is {best:.2f}", one.value))
            else:
                agrees = answer.agree(one.value, winners[0], sample)
                count = f"{votes[winners[0]]} of {len(rollouts)} answer {winners[0]}, agreement {best:.2f}"
                scores.append(Score(float(agrees), count, one.value))
        return scores

    def _count(self, sample: Sample, values: Sequence[str | None]) -> Counter[str]:
        """Votes by answer; equal answers count for the first one."""
        votes: Counter[str] = Counter()
        for value in values:
            if value is not None:
                votes[next((known for known in votes if answer.agree(value, known, sample)), value)] += 1
        return votes

    def _agreement(self, sample: Sample, value: str, votes: int, group: int) -> float:
        """The share of an answer beyond its prior, from 0 to 1."""
        share = votes / group
        prior = max(self._prior(sample, choice, group) for choice in _choices(sample, value))
        return max(0.0, (share - prior) / (1 - prior)) if prior < 1 else 0.0

    def _prior(self, sample: Sample, choice: Choice, group: int) -> float:
        """The share of an answer among the completions to other questions, and `group` evenly spread ones."""
        space, value = choice
        others = Counter[str]()
        for other, votes in self._votes.items():
            if other != sample.id:
                others.update({text: count for (key, text), count in votes.items() if key == space})
        return (others[value] + group * answer.chance(value, sample)) / (others.total() + group)


def _choices(sample: Sample, value: str) -> Iterator[Choice]:
    """The sets of answers in which a frequent answer would show: the same texts, and for a choice also the letters."""
    if sample.kind == "choice":
        yield tuple(sorted(map(answer.normalize, sample.options))), answer.normalize(value)
        yield len(sample.options), LETTERS[sample.options.index(value)]
    else:
        yield "yes/no" if value in ("yes", "no") else sample.kind, value
