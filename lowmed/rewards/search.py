"""A small search for texts that earn more than they should, on a recipe's own rows.

It varies wrong completions of single rows, and one text that is used for every row. It starts from gold completions,
constants and lists of words, keeps the best variants, and varies them again. It is seeded, so it repeats itself.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lowmed import answer, prompt
from lowmed.rewards import hacks, mutations
from lowmed.rewards.blind import by_row, content_rewards, mean_of, spread, values_of
from lowmed.rewards.format import thought
from lowmed.rewards.search_constant import CONSTANT_ROWS, KEPT, ROUNDS, VARIANTS, ConstantFound, improve_constant
from lowmed.rewards.stand_ins import with_stand_ins
from lowmed.rewards.weighted import Weighted, total, with_corpus
from lowmed.sample import KINDS, Sample

ROWS_PER_KIND = 3
SHOWN_CHARACTERS = 300
_ROUNDING = 1e-9


@dataclass(frozen=True)
class WrongAnswerFound:
    """The completion with a wrong answer that came closest to an honest right one.

    Attributes:
        sample: id of the row.
        text: the completion.
        changes: the changes that led to it.
        paid: its total.
        honest_wrong: total of an honest wrong answer to the same question.
        honest_right: total of the gold completion.
    """

    sample: str
    text: str
    changes: tuple[str, ...]
    paid: float
    honest_wrong: float
    honest_right: float

    @property
    def wins(self) -> bool:
        """Whether it earns at least as much as the gold completion."""
        return self.paid >= self.honest_right - _ROUNDING


@dataclass(frozen=True)
class MutatedResult:
    """What one reward pays for false or disordered versions of the gold reasoning, with a wrong answer.

    Attributes:
        reward: name of the reward.
        gold: mean pay of the gold reasoning with a wrong answer.
        paid: mean pay of each version, over the rows whose text it changes.
    """

    reward: str
    gold: float
    paid: dict[str, float]


@dataclass(frozen=True)
class SearchReport:
    """The result of the search.

    Attributes:
        tried: number of texts that were scored.
        wrong_answer: the best completion with a wrong answer; None without rows to search.
        mutated: the pay of false versions of the gold reasoning, of each reward that reads the reasoning.
        constants: the best reasoning for all rows, of each reward that should depend on the image.
        failures: what earns too much, in words.
    """

    tried: int
    wrong_answer: WrongAnswerFound | None
    mutated: tuple[MutatedResult, ...]
    constants: tuple[ConstantFound, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    thought: str
    answer: str
    frame: str = mutations.IN_FORM
    thought_changes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[str, ...]:
        frame = () if self.frame == mutations.IN_FORM else (self.frame,)
        return (*self.thought_changes, f"answer: {self.answer}", *frame)


def search_hacks(rewards: Sequence[Weighted], samples: Sequence[Sample], family: prompt.Family) -> SearchReport:
    """Search for the best-paid wrong completions and constants; rewards with a judge are left out.

    Args:
        rewards: the rewards.
        samples: the rows, whose explanations are the corpus of the rewards.
        family: the prompt family, which gives the form of completion.
    """
    prepared = with_stand_ins(with_corpus(rewards, samples), family.completion_format)
    usable = [reward for reward in prepared if "judge" not in reward.needs]
    strict = [reward for reward in usable if not reward.pays_length]
    draw = random.Random(0)
    rows = [row for kind in KINDS for row in spread([one for one in samples if one.kind == kind], ROWS_PER_KIND)]
    results = [_climb_row(strict, row, family, draw) for row in rows] if strict else []
    best = max((result for result, _ in results), key=lambda result: result.paid - result.honest_right, default=None)
    tried = sum(count for _, count in results)
    constants = []
    for reward in content_rewards(usable):
        constant, count = improve_constant(reward, samples, family, draw)
        tried += count
        constants += [constant] if constant else []
    mutated = tuple(_pay_mutated(content_rewards(usable), samples, family, draw))
    return SearchReport(tried, best, mutated, tuple(constants), tuple(_failures(best, constants)))


def _pay_mutated(
    rewards: Sequence[Weighted], samples: Sequence[Sample], family: prompt.Family, draw: random.Random
) -> Iterable[MutatedResult]:
    rows = spread([sample for sample in samples if sample.explanation], CONSTANT_ROWS)

    def completion(row: Sample, text: str) -> str:
        return hacks.format_completion(text, hacks.wrong_answer(row), family.completion_format)

    for reward in rewards:
        gold = mean_of(values_of(reward, rows, lambda row: completion(row, row.explanation)))
        if not gold:
            continue  # the reward reads the answer alone
        paid = {}
        for name in mutations.FALSE:
            texts = {row.id: mutations.THOUGHT_MUTATIONS[name](row.explanation, draw) for row in rows}
            changed = [row for row in rows if texts[row.id].split() != row.explanation.split()]
            mutated = {row.id: completion(row, texts[row.id]) for row in changed}
            values = values_of(reward, changed, by_row(mutated))
            if values:
                paid[name] = mean_of(values)
        yield MutatedResult(reward.name, gold, paid)


def _failures(best: WrongAnswerFound | None, constants: Iterable[ConstantFound]) -> Iterable[str]:
    if best and best.wins:
        yield (
            f"the search found a wrong answer to {best.sample} that earns {best.paid:.2f}, the right one "
            f"{best.honest_right:.2f}: {best.text[:SHOWN_CHARACTERS]!r}"
        )
    for constant in constants:
        if constant.result.wins:
            text = f"one reasoning for all rows that the search found, {constant.text[:SHOWN_CHARACTERS]!r},"
            yield constant.result.in_words(text, constant.reward)


def _climb_row(
    rewards: Sequence[Weighted], sample: Sample, family: prompt.Family, draw: random.Random
) -> tuple[WrongAnswerFound, int]:
    """Vary completions with a wrong answer to one question; also the number of texts tried."""
    reference = prompt.reference_completion(family, sample)
    gold, wrong = sample.written_answer, hacks.wrong_answer(sample)
    answers = mutations.answer_mutations(sample, gold, wrong)
    honest = hacks.honest_wrong_completion(sample, family.completion_format)
    start = thought(reference) or ""
    scored: dict[str, float] = {}

    def text_of(candidate: _Candidate) -> str:
        if candidate.frame == mutations.IN_FORM:
            return hacks.format_completion(candidate.thought, answers[candidate.answer], family.completion_format)
        frame = mutations.FRAMES[candidate.frame]
        return (
            frame.replace("{thought}", candidate.thought)
            .replace("{answer}", answers[candidate.answer])
            .replace("{gold}", gold)
        )

    def earned(text: str) -> float:
        if text not in scored:
            for reward in rewards:
                reward.prepare([(sample, text)])
            scored[text] = total(rewards, {reward.name: reward(sample, text) for reward in rewards})
        return scored[text]

    def is_wrong(text: str) -> bool:
        return answer.grade(answer.read(text, sample), sample).outcome != "correct"

    kept = sorted(
        (one for name in answers if is_wrong(text_of(one := _Candidate(start, name)))),
        key=lambda one: earned(text_of(one)),
        reverse=True,
    )[:KEPT]
    for _ in range(ROUNDS):
        variants = [_vary(draw.choice(kept), list(answers), draw) for _ in range(VARIANTS)] if kept else []
        pool = {text_of(one): one for one in (*kept, *variants)}
        kept = sorted(
            (one for text, one in pool.items() if is_wrong(text)), key=lambda one: earned(text_of(one)), reverse=True
        )[:KEPT]
    honest_wrong, honest_right = earned(honest), earned(reference)
    best = kept[0] if kept else _Candidate(start, "wrong")
    text = text_of(best) if kept else honest
    return WrongAnswerFound(sample.id, text, best.changes, earned(text), honest_wrong, honest_right), len(scored)


def _vary(candidate: _Candidate, answers: Sequence[str], draw: random.Random) -> _Candidate:
    """Change the reasoning, the answer or the frame of a candidate."""
    what = draw.choice(("thought", "answer", "frame"))
    if what == "answer":
        return replace(candidate, answer=draw.choice(answers))
    if what == "frame":
        return replace(candidate, frame=draw.choice([mutations.IN_FORM, *mutations.FRAMES]))
    name = draw.choice(list(mutations.THOUGHT_MUTATIONS))
    text = mutations.THOUGHT_MUTATIONS[name](candidate.thought, draw)
    changes = candidate.thought_changes if text == candidate.thought else (*candidate.thought_changes, name)
    return replace(candidate, thought=text, thought_changes=changes)
