"""What rewards pay for texts that were written without the image: a constant, a list of words, another image's text."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import regex

from lowmed import answer, prompt
from lowmed.rewards import hacks
from lowmed.rewards.format import thought
from lowmed.rewards.weighted import Weighted
from lowmed.sample import Sample

QUESTIONS = 96  # on which the texts are tried
JUDGED = 8  # questions for a reward with a judge, which may cost a call each
CONSTANTS = 12  # gold completions that are tried as a constant
SALAD_WORDS = 30
MAX_SHARE = 0.5  # of what an honest completion earns
# Standard errors by which a text must exceed that share. A constant is right on half of the rows of a yes/no question.
ERRORS, ERRORS_OF_CONSTANT = 1, 2
_ROUNDING = 1e-9
_BOUNDARY = regex.compile(r"(?<=[.;!?。；])\s+|(?<=,)\s+|\n+")


@dataclass(frozen=True)
class Comparison:
    """The pay of a text without the image and of an honest completion, on the same rows.

    Attributes:
        rows: number of rows, without those on which the reward abstains.
        paid: mean pay of the text.
        honest: mean pay of the first half of the gold reasoning with the gold answer: true, and not copied in full.
        margin: by how much `paid` must exceed half of `honest`, because a guess may be right on some rows.
    """

    rows: int
    paid: float
    honest: float
    margin: float

    @property
    def wins(self) -> bool:
        """Whether the text earns more than half of the honest completion, by more than chance explains."""
        return self.paid - MAX_SHARE * self.honest > self.margin + _ROUNDING

    def in_words(self, text: str, reward: str) -> str:
        """What the text earns, as a failure."""
        honest = f"more than half of the {self.honest:.2f} of an honest completion"
        return f"{text} earns {self.paid:.2f} of `{reward}`, {honest}"


@dataclass(frozen=True)
class BlindResult:
    """What one reward pays for the texts without the image, by the name of the text."""

    reward: str
    texts: dict[str, Comparison]

    def failures(self) -> Iterable[str]:
        """The texts that earn more than half of what an honest completion earns, in words."""
        return (result.in_words(name, self.reward) for name, result in self.texts.items() if result.wins)


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
    if len(samples) < 2:
        return
    references = {sample.id: prompt.reference_completion(family, sample) for sample in samples}
    salad = salad_of(samples)
    for reward in content_rewards(rewards):
        is_judged = "judge" in reward.needs
        rows = spread(samples, JUDGED) if is_judged else _rows_with_a_value(reward, samples, references)
        others = random.Random(0).sample(samples, min(len(samples), QUESTIONS))
        completions = {
            row.id: wrong_for(row, [*others[number % len(others) :], *others], references)
            for number, row in enumerate(rows)
        }
        texts: dict[str, Callable[[Sample], str | None]] = {
            "another image's completion": by_row(completions),
            "a list of frequent words": lambda row: hacks.format_completion(
                salad, salad if row.kind == "report" else hacks.wrong_answer(row), family.completion_format
            ),
        }
        compared = {name: compare(reward, rows, text_of, family, ERRORS) for name, text_of in texts.items()}
        if not is_judged:
            constant = _best_constant(reward, rows[::2], spread(samples, CONSTANTS), references)
            compared["the best constant completion"] = compare(
                reward,
                rows[1::2],
                by_row({row.id: wrong_for(row, [constant], references) for row in rows}),
                family,
                ERRORS_OF_CONSTANT,
            )
        yield BlindResult(reward.name, {name: result for name, result in compared.items() if result is not None})


def by_row(completions: Mapping[str, str | None]) -> Callable[[Sample], str | None]:
    """The completion of a row, by its id."""
    return lambda row: completions[row.id]


def _rows_with_a_value(reward: Weighted, samples: Sequence[Sample], references: Mapping[str, str]) -> list[Sample]:
    """Rows on which the reward does not abstain."""
    candidates = spread(samples, 8 * QUESTIONS)
    reward.prepare([(row, references[row.id]) for row in candidates])
    return spread([row for row in candidates if reward(row, references[row.id]).value is not None], QUESTIONS)


def _best_constant(
    reward: Weighted, rows: Sequence[Sample], constants: Sequence[Sample], references: Mapping[str, str]
) -> Sample:
    """The sample whose gold completion earns most on the rows for which its answer is wrong."""

    def pay(constant: Sample) -> float:
        values = values_of(reward, rows, lambda row: wrong_for(row, [constant], references))
        return sum(values.values()) / len(values) if values else 0.0

    return max(constants, key=pay)


def compare(
    reward: Weighted,
    rows: Sequence[Sample],
    text_of: Callable[[Sample], str | None],
    family: prompt.Family,
    errors: float,
) -> Comparison | None:
    """Compare a text with an honest completion; None if the reward abstains on all rows.

    Args:
        reward: the reward.
        rows: the rows.
        text_of: the text for a row; None leaves the row out.
        family: the prompt family.
        errors: the margin, in standard errors of the mean of the pay minus half of the honest pay.
    """
    paid = values_of(reward, rows, text_of)
    honest = values_of(reward, [row for row in rows if row.id in paid], lambda row: shortened(row, family))
    pairs = [(paid[row], value) for row, value in honest.items()]
    if not pairs:
        return None
    excess = [value - MAX_SHARE * of_honest for value, of_honest in pairs]
    error = stdev(excess) / len(excess) ** 0.5 if len(excess) > 1 else 1.0
    return Comparison(len(pairs), fmean(one for one, _ in pairs), fmean(two for _, two in pairs), errors * error)


def values_of(reward: Weighted, rows: Sequence[Sample], text_of: Callable[[Sample], str | None]) -> dict[str, float]:
    """The value of a text by the id of the row, for the rows that have one and on which the reward does not abstain."""
    completions = [(row, text) for row in rows if (text := text_of(row)) is not None]
    reward.prepare(completions)
    scores = ((row.id, reward(row, text).value) for row, text in completions)
    return {row: value for row, value in scores if value is not None}


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
    return hacks.format_completion(text[:cut] or text, sample.written_answer, family.completion_format)


def salad_of(samples: Sequence[Sample]) -> str:
    """The most frequent words of the explanations, or else of the answers, without an order."""
    texts = [sample.explanation for sample in samples if sample.explanation] or [sample.answer for sample in samples]
    counts = Counter(word for text in texts for word in text.lower().split())
    return " ".join(word for word, _ in counts.most_common(SALAD_WORDS))


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, evenly spaced over the list."""
    return list(samples[:: max(1, -(-len(samples) // count))])


def mean_of(values: Mapping[str, float]) -> float:
    """The mean of some values; 0 without any."""
    return sum(values.values()) / len(values) if values else 0.0
