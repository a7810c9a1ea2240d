"""The search for one reasoning that earns too much if it is used for every row."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex

from lowmed import prompt
from lowmed.rewards import hacks, mutations
from lowmed.rewards.blind import ERRORS_OF_CONSTANT, Comparison, compare, mean_of, salad_of, spread, values_of
from lowmed.rewards.weighted import Weighted
from lowmed.sample import Sample

CONSTANT_ROWS = 32  # rows on which one text for all is improved; it is measured on others
KEPT, ROUNDS, VARIANTS = 3, 4, 16  # texts that survive a round, rounds, and variants of the surviving texts in a round
_SENTENCE = regex.compile(r"(?<=[.;!?。；])\s+")


@dataclass(frozen=True)
class ConstantFound:
    """The reasoning that earns most of one reward if it is used for every row, with a wrong answer.

    Attributes:
        reward: name of the reward.
        text: the reasoning.
        result: its pay and that of an honest completion, on rows that the search did not use.
    """

    reward: str
    text: str
    result: Comparison


def improve_constant(
    reward: Weighted, samples: Sequence[Sample], family: prompt.Family, draw: random.Random
) -> tuple[ConstantFound | None, int]:
    """Vary one reasoning that is used for all rows; also the number of texts tried."""
    explained = [sample for sample in samples if sample.explanation]
    usable = [
        row
        for row in spread(explained, 8 * CONSTANT_ROWS)
        if reward(row, prompt.reference_completion(family, row)).value is not None
    ]
    climbed = spread(usable, min(CONSTANT_ROWS, len(usable) // 2)) if len(usable) > 1 else []
    measured = [row for row in usable if row not in climbed]
    if len(measured) < 2 or family.completion_format == "answer":
        return None, 0
    others = [row.explanation for row in climbed]
    parts = [part for text in draw.sample(others, min(len(others), 40)) for part in _SENTENCE.split(text)]
    scores: dict[tuple[str, ...], float] = {}

    def completed(text: str) -> Callable[[Sample], str]:
        return lambda row: hacks.format_completion(text, hacks.wrong_answer(row), family.completion_format)

    def earned(sentences: tuple[str, ...]) -> float:
        if sentences not in scores:
            scores[sentences] = mean_of(values_of(reward, climbed, completed(" ".join(sentences))))
        return scores[sentences]

    kept: list[tuple[str, ...]] = [
        (salad_of(samples),),
        *((text,) for text in draw.sample(others, min(len(others), 12))),
    ]
    for _ in range(ROUNDS):
        kept = sorted(kept, key=earned, reverse=True)[:KEPT]
        kept += [_vary_sentences(draw.choice(kept), parts, draw) for _ in range(VARIANTS)]
    best_sentences = max(kept, key=earned)
    best = " ".join(best_sentences)
    result = compare(reward, measured, completed(best), family, ERRORS_OF_CONSTANT)
    return (ConstantFound(reward.name, best, result) if result else None), len(scores)


def _vary_sentences(sentences: tuple[str, ...], parts: Sequence[str], draw: random.Random) -> tuple[str, ...]:
    """Add, replace or drop a sentence, or change one."""
    what = draw.choice(("add", "replace", "drop", "change"))
    at = draw.randrange(len(sentences))
    if what == "add":
        return (*sentences, draw.choice(parts))
    if what == "replace":
        return (*sentences[:at], draw.choice(parts), *sentences[at + 1 :])
    if what == "drop" and len(sentences) > 1:
        return (*sentences[:at], *sentences[at + 1 :])
    name = draw.choice(list(mutations.THOUGHT_MUTATIONS))
    return (*sentences[:at], mutations.THOUGHT_MUTATIONS[name](sentences[at], draw), *sentences[at + 1 :])
