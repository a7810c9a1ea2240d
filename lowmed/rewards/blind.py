"""What rewards pay for texts that were written without the image: a constant, a list of words, another image's text."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import regex

from lowmed import answer, prompt
from lowmed.rewards import hacks
from lowmed.rewards.format import thought
from lowmed.rewards.weighted import Weighted
from lowmed.sample import Sample

QUESTIONS = 24  # on which the texts are tried
JUDGED = 8  # questions for a reward with a judge, which may cost a call each
CONSTANTS = 12  # gold completions that are tried as a constant
SALAD_WORDS = 30
MAX_SHARE = 0.5  # of what an honest completion earns
_ROUNDING = 1e-9
_BOUNDARY = regex.compile(r"(?<=[.;!?。；])\s+|(?<=,)\s+|\n+")


@dataclass(frozen=True)
class BlindResult:
    """What one reward pays for the texts without the image, on average over the questions.

    Attributes:
        reward: name of the reward.
        questions: number of questions.
        honest: pay of the first half of the gold reasoning with the gold answer: true, and not copied in full.
        paid: pay of each text, by its name.
    """

    reward: str
    questions: int
    honest: float
    paid: dict[str, float]

    def failures(self) -> Iterable[str]:
        """The texts that earn more than half of what an honest completion earns, in words."""
        for name, value in self.paid.items():
            if value > MAX_SHARE * self.honest + _ROUNDING:
                yield (
                    f"{name} earns {value:.2f} of `{self.reward}`, more than half of the {self.honest:.2f} of an"
                    " honest completion"
                )


def content_rewards(rewards: Sequence[Weighted]) -> list[Weighted]:
    """The rewards that should depend on the image: all but those that pay form or length by design."""
    return [reward for reward in rewards if not reward.pays_form and not reward.pays_length]


def try_blind_texts(
    rewards: Sequence[Weighted], samples: Sequence[Sample], family: prompt.Family
) -> Iterable[BlindResult]:
    """Score the texts without the image on some of the samples.

    A gold completion of another row counts only on rows for which its answer is wrong. A right answer by chance is the
    answer prior, which every table of results has.
    """
    chosen = spread(samples, QUESTIONS)
    if len(chosen) < 2:
        return
    references = {sample.id: prompt.reference_completion(family, sample) for sample in samples}
    salad = salad_of(samples)
    for reward in content_rewards(rewards):
        rows = chosen[:JUDGED] if "judge" in reward.needs else chosen
        constants = spread(samples, 1 if "judge" in reward.needs else CONSTANTS)
        draw = random.Random(0)
        others = {
            row.id: wrong_for(row, draw.sample(samples, min(len(samples), QUESTIONS)), references) for row in rows
        }
        texts: dict[str, Callable[[Sample], str | None]] = {
            "another image's completion": lambda row, others=others: others[row.id],  # type: ignore[misc]
            "a list of frequent words": lambda row: hacks.format_completion(
                salad, hacks.wrong_answer(row), family.completion_format
            ),
        }
        honest = mean_pay(reward, rows, lambda row: shortened(row, family))
        paid = {name: mean_pay(reward, rows, text_of) for name, text_of in texts.items()}
        paid["the best constant completion"] = max(
            (
                mean_pay(reward, rows, lambda row, one=one: wrong_for(row, [one], references))  # type: ignore[misc]
                for one in constants
            ),
            key=lambda value: value or 0.0,
            default=None,
        )
        if honest is not None:
            yield BlindResult(
                reward.name, len(rows), honest, {name: value for name, value in paid.items() if value is not None}
            )


def mean_pay(reward: Weighted, rows: Sequence[Sample], text_of: Callable[[Sample], str | None]) -> float | None:
    """The mean value of a text over the rows that have one and on which the reward does not abstain."""
    completions = [(row, text) for row in rows if (text := text_of(row)) is not None]
    reward.prepare(completions)
    values = [value for row, text in completions if (value := reward(row, text).value) is not None]
    return sum(values) / len(values) if values else None


def wrong_for(row: Sample, others: Sequence[Sample], references: Mapping[str, str]) -> str | None:
    """The gold completion of the first other sample whose answer is wrong for this one."""
    for other in others:
        text = references[other.id]
        if other.id != row.id and answer.grade(answer.read(text, row), row).strict_outcome != "correct":
            return text
    return None


def shortened(sample: Sample, family: prompt.Family) -> str:
    """The gold completion with the first half of its reasoning, cut at the end of a sentence or clause."""
    reference = prompt.reference_completion(family, sample)
    text = thought(reference)
    if text is None:
        return reference
    middle = len(text) / 2
    cuts = [match.start() for match in _BOUNDARY.finditer(text)]
    cut = min(cuts, key=lambda position: abs(position - middle), default=0)
    return hacks.format_completion(text[:cut] or text, hacks.gold_text(sample), family.completion_format)


def salad_of(samples: Sequence[Sample]) -> str:
    """The most frequent words of the explanations, or else of the answers, without an order."""
    texts = [sample.explanation for sample in samples if sample.explanation] or [sample.answer for sample in samples]
    counts = Counter(word for text in texts for word in text.lower().split())
    return " ".join(word for word, _ in counts.most_common(SALAD_WORDS))


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, evenly spaced over the list."""
    return list(samples[:: max(1, -(-len(samples) // count))])
