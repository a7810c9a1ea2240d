"""Pairs of completions for DPO from a probe: a right and a wrong sampled completion of the same training question.

No human labels them: the gold answers do. Both completions are in full form and of similar length, so that a pair
teaches the answer and neither tags nor length.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from lowmed.data.pairs import Pair
from lowmed.errors import DataError
from lowmed.evaluation.probe_completions import Row, Use, count_uses, distinct, sampled_by_use

LENGTH_RATIO = 1.5  # of the tokens of the two completions of a pair; our choice
Lack = Literal["no right completion", "no wrong completion", "none of similar length"]


@dataclass(frozen=True)
class PairedRow:
    """A pair of a question, with the tokens of both completions."""

    id: str
    pair: Pair
    chosen_tokens: int
    rejected_tokens: int


@dataclass(frozen=True)
class PairsReport:
    """The pairs of a probe, and what became of its completions and questions.

    Attributes:
        pairs: in the order of the probe's questions.
        questions: number of questions in the probe.
        completions: number of completions by their use.
        without: number of questions without a pair, by reason.
    """

    pairs: tuple[PairedRow, ...]
    questions: int
    completions: Mapping[Use, int]
    without: Mapping[Lack, int]

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Mean tokens of the chosen and of the rejected completions."""
        count = max(1, len(self.pairs))
        chosen, rejected = (sum(tokens) for tokens in zip(*map(_tokens, self.pairs), strict=True))
        return chosen / count, rejected / count


def pairs_of_probe(folder: Path, per_question: int) -> PairsReport:
    """The pairs of a probe's sampled completions.

    Chosen are right completions in full form whose reasoning does not come to another answer; rejected are wrong ones
    in full form. Both are complete, and neither has more than 1.5 times the tokens of the other. The pairs of most
    similar length are taken first, and no completion twice. The result depends on the stored completions only.

    Args:
        folder: results of `lowmed probe`.
        per_question: most pairs of a question.

    Raises:
        RunError: it holds something else than a probe, or completions of held-out questions.
        DataError: no question gives a pair.
    """
    questions = sampled_by_use(folder)
    without: Counter[Lack] = Counter()
    pairs: list[PairedRow] = []
    for by_use in questions:
        right, wrong = distinct(by_use.get("right", [])), distinct(by_use.get("wrong", []))
        made = _pairs(right, wrong, per_question)
        pairs += made
        if not made:
            lack: Lack = "none of similar length" if wrong else "no wrong completion"
            without[lack if right else "no right completion"] += 1
    if not pairs:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in without.most_common())
        raise DataError(
            f"no question of the probe gives a pair: {reasons}",
            str(folder),
            "probe more questions, with more --samples; a model that is never right needs SFT first",
        )
    return PairsReport(tuple(pairs), len(questions), count_uses(questions), dict(without.most_common()))


def _pairs(right: Sequence[Row], wrong: Sequence[Row], most: int) -> list[PairedRow]:
    def gap(pair: tuple[Row, Row]) -> float:
        shorter, longer = sorted(row["tokens"] for row in pair)
        return float(longer / shorter)

    candidates = [pair for pair in product(right, wrong) if gap(pair) <= LENGTH_RATIO]
    candidates.sort(key=lambda pair: (gap(pair), pair[0]["completion"], pair[1]["completion"]))
    used: set[str] = set()
    result: list[PairedRow] = []
    for chosen, rejected in candidates:
        texts = {chosen["completion"], rejected["completion"]}
        if len(result) < most and not texts & used:
            used |= texts
            pair = Pair(chosen["completion"], rejected["completion"])
            result.append(PairedRow(chosen["id"], pair, chosen["tokens"], rejected["tokens"]))
    return result


def _tokens(row: PairedRow) -> tuple[int, int]:
    return row.chosen_tokens, row.rejected_tokens
