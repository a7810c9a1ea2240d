"""Checks that rewards pay gold completions in full, hacks no more than a wrong answer, and little without the image.

Rewards that pay length by design (`pays_length`) do not count in the verdict; the report names them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lowmed import prompt
from lowmed.rewards import hacks
from lowmed.rewards.blind import BlindResult, spread, try_blind_texts
from lowmed.rewards.score import Score
from lowmed.rewards.search import SearchReport
from lowmed.rewards.stand_ins import needs_stand_in, with_stand_ins
from lowmed.rewards.weighted import Weighted, total, with_corpus
from lowmed.sample import KINDS, Kind, Sample

HACKED_PER_KIND = 12  # questions of each kind on which the hacks are tried
JUDGED = 8  # gold completions that a judge scores; each may cost a call
MAX_EXAMPLES = 3
_ROUNDING = 1e-9


@dataclass(frozen=True)
class GoldResult:
    """Scores of one reward for the gold completions.

    Attributes:
        reward: name of the reward.
        weight: its weight.
        gate: whether it is a gate.
        pays_length: whether it pays length by design.
        completions: gold completions scored.
        abstained: those on which the reward abstained.
        below_full: those with a value below 1.
        examples: sample id and reason of the first completions below 1.
    """

    reward: str
    weight: float
    gate: bool
    pays_length: bool
    completions: int
    abstained: int
    below_full: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class VariantBelow:
    """A spelling of a gold completion whose total is below that of the gold completion."""

    sample: str
    variant: str
    total: float
    gold_total: float


@dataclass(frozen=True)
class HackResult:
    """Mean totals of one hack and of an honest wrong answer, over questions of one kind.

    `total` and `honest_total` leave out rewards that pay length by design. `wins` compares them; `wins_with_length`
    compares the totals of all rewards.
    """

    hack: str
    kind: Kind
    questions: int
    total: float
    honest_total: float
    wins: bool
    wins_with_length: bool


@dataclass(frozen=True)
class RewardsReport:
    """The result of checking a set of rewards.

    Attributes:
        gold: the result of each reward on the gold completions.
        variants_below: spellings of gold completions that earn less than the gold completion.
        hacks: the result of each hack on each kind of question.
        blind: what each reward pays for texts that were written without the image.
        pay_length: names of the rewards that pay length by design.
        failures: failed checks, in words; empty if the rewards passed.
        search: the result of the search for texts that earn too much; None if it was not run.
        in_group: names of the rewards that were tried with stand-ins for a group and for measurements of the model.
        format: version of the JSON form.
    """

    gold: tuple[GoldResult, ...]
    variants_below: tuple[VariantBelow, ...]
    hacks: tuple[HackResult, ...]
    blind: tuple[BlindResult, ...]
    pay_length: tuple[str, ...]
    failures: tuple[str, ...]
    search: SearchReport | None = None
    in_group: tuple[str, ...] = ()
    format: int = 1

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)


def check_rewards(rewards: Sequence[Weighted], samples: Sequence[Sample], family: prompt.Family) -> RewardsReport:
    """Score gold completions, other spellings of them, and known hacks.

    Args:
        rewards: the rewards to check.
        samples: the samples whose gold answers and questions are used.
        family: the prompt family, which gives the form of completion.
    """
    in_group = tuple(reward.name for reward in rewards if needs_stand_in(reward))
    rewards = with_stand_ins(with_corpus(rewards, samples), family.completion_format)
    strict = [reward for reward in rewards if not reward.pays_length]
    references = [(sample, prompt.reference_completion(family, sample)) for sample in samples]
    gold = tuple(_check_gold(reward, references) for reward in rewards)
    chosen = {kind: spread([sample for sample in samples if sample.kind == kind], HACKED_PER_KIND) for kind in KINDS}
    variants = tuple(
        below
        for same_kind in chosen.values()
        for sample in same_kind
        for below in _variants_below(strict, sample, family)
    )
    tried = tuple(
        result
        for kind, same_kind in chosen.items()
        for result in _try_hacks(rewards, strict, same_kind, kind, family.completion_format)
    )
    blind = tuple(try_blind_texts(rewards, samples, family))
    return RewardsReport(
        gold=gold,
        variants_below=variants,
        hacks=tried,
        blind=blind,
        pay_length=tuple(reward.name for reward in rewards if reward.pays_length),
        failures=tuple(_failures(gold, variants, tried, blind)),
        in_group=in_group,
    )


def score_completion(rewards: Sequence[Weighted], sample: Sample, completion: str) -> dict[str, Score]:
    """The score of one completion by each reward, by the name of the reward."""
    return {reward.name: reward(sample, completion) for reward in rewards}


def _failures(
    gold: Iterable[GoldResult],
    variants: Sequence[VariantBelow],
    tried: Iterable[HackResult],
    blind: Iterable[BlindResult],
) -> Iterable[str]:
    for result in gold:
        if result.below_full and not result.pays_length:
            below = f"{result.below_full} of {result.completions} gold completions"
            yield f"`{result.reward}` pays {below} less than a right answer can earn"
    for variant in variants[:MAX_EXAMPLES]:
        yield f"the gold completion of {variant.sample} earns less in the spelling {variant.variant!r}"
    for hack in tried:
        if hack.wins:
            yield (
                f"{hack.hack!r} earns {hack.total:.2f} on {hack.kind} questions, "
                f"an honest wrong answer {hack.honest_total:.2f}"
            )
    for blind_result in blind:
        yield from blind_result.failures()


def _check_gold(reward: Weighted, references: Sequence[tuple[Sample, str]]) -> GoldResult:
    if "judge" in reward.needs:
        references = references[:JUDGED]
    reward.prepare(references)
    scores = [(sample, reward(sample, completion)) for sample, completion in references]
    below = [
        (sample.id, score.why)
        for sample, score in scores
        if score.value is not None and score.value < reward.most(sample)
    ]
    return GoldResult(
        reward=reward.name,
        weight=reward.weight,
        gate=reward.gate,
        pays_length=reward.pays_length,
        completions=len(scores),
        abstained=sum(score.value is None for _, score in scores),
        below_full=len(below),
        examples=tuple(below[:MAX_EXAMPLES]),
    )


def _variants_below(rewards: Sequence[Weighted], sample: Sample, family: prompt.Family) -> Iterable[VariantBelow]:
    reference = prompt.reference_completion(family, sample)
    gold_total = total(rewards, score_completion(rewards, sample, reference))
    for name, completion in hacks.spelling_variants(sample, reference).items():
        variant_total = total(rewards, score_completion(rewards, sample, completion))
        if variant_total < gold_total - _ROUNDING:
            yield VariantBelow(sample.id, name, variant_total, gold_total)


def _try_hacks(
    rewards: Sequence[Weighted],
    strict: Sequence[Weighted],
    samples: Sequence[Sample],
    kind: Kind,
    completion_format: prompt.CompletionFormat,
) -> Iterable[HackResult]:
    """Mean totals of each hack and of an honest wrong answer; `strict` are the rewards that do not pay length."""
    honest = ""  # the key of the honest wrong answer among the hacks
    completions = [
        {
            honest: hacks.honest_wrong_completion(sample, completion_format),
            **hacks.hack_completions(sample, completion_format),
        }
        for sample in samples
    ]
    for reward in rewards:
        reward.prepare(
            [(sample, text) for sample, texts in zip(samples, completions, strict=True) for text in texts.values()]
        )
    scores = [
        {name: score_completion(rewards, sample, text) for name, text in texts.items()}
        for sample, texts in zip(samples, completions, strict=True)
    ]

    def mean(name: str, counted: Sequence[Weighted]) -> float:
        return sum(total(counted, by_name[name]) for by_name in scores) / len(scores)

    for name in scores[0] if scores else ():
        if name != honest:
            yield HackResult(
                hack=name,
                kind=kind,
                questions=len(samples),
                total=mean(name, strict),
                honest_total=mean(honest, strict),
                wins=mean(name, strict) > mean(honest, strict) + _ROUNDING,
                wins_with_length=mean(name, rewards) > mean(honest, rewards) + _ROUNDING,
            )
