"""Pairs of completions for DPO from a probe: a right and a wrong sampled completion of the same training question.

No human labels them: the gold answers do. Both completions are in full form and of similar length, so that a pair
teaches the answer and neither tags nor length.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from lowmed import prompt
from lowmed.data.pairs import Pair
from lowmed.errors import DataError, RunError
from lowmed.evaluation import results_folder
from lowmed.evaluation.controls import SAMPLED
from lowmed.evaluation.metrics import scored
from lowmed.evaluation.pass_at_k import by_question
from lowmed.evaluation.reasoning_cells import reasoning_outcome
from lowmed.prompt import CompletionFormat
from lowmed.rewards.format import Format
from lowmed.sample import Sample

LENGTH_RATIO = 1.5  # of the tokens of the two completions of a pair; our choice
Row = Mapping[str, Any]
Use = Literal[
    "right", "wrong", "truncated", "not in full form", "unread", "reasoning comes to another answer", "free text"
]
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
    rows, completion_format = _sampled(folder)
    grouped = by_question(rows)
    uses: Counter[Use] = Counter()
    without: Counter[Lack] = Counter()
    pairs: list[PairedRow] = []
    for completions in grouped:
        by_use: dict[Use, list[Row]] = {}
        for row in completions:
            by_use.setdefault(_use(row, completion_format), []).append(row)
        uses.update({use: len(some) for use, some in by_use.items()})
        right, wrong = _distinct(by_use.get("right", [])), _distinct(by_use.get("wrong", []))
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
    return PairsReport(tuple(pairs), len(grouped), dict(uses.most_common()), dict(without.most_common()))


def _sampled(folder: Path) -> tuple[list[dict[str, Any]], CompletionFormat]:
    """The scored sampled completions of a probe, and the form that its prompts request."""
    settings = results_folder.read_settings(folder)
    if settings.splits.keys() != {"train"}:
        held_out = ", ".join(name for name in settings.splits if name != "train")
        raise RunError(
            f"these are completions of held-out questions ({held_out}), which are never trained on",
            str(folder),
            "name the folder of a probe, which has training questions only: lowmed probe MODEL --on DATA",
        )
    system = results_folder.systems(folder)[0]
    rows = scored(results_folder.read_rows(results_folder.completions_file(folder, system, SAMPLED)))
    if not rows:
        raise RunError("the folder has no sampled completions", str(folder), "run `lowmed probe` to its end")
    family = prompt.FAMILIES.get(settings.prompts)
    if family:
        return rows, family.completion_format
    return rows, "think_answer" if any("<think" in row["completion"] for row in rows) else "answer"


def _use(row: Row, completion_format: CompletionFormat) -> Use:
    if row["kind"] == "text":
        return "free text"
    if row["finish_reason"] == "length":
        return "truncated"
    if row["strict_outcome"] == "unread" and row["outcome"] == "unread":
        return "unread"
    sample = Sample(
        row["id"], row["question"], row["answer"], row["kind"], row["group"], "probe", options=tuple(row["options"])
    )
    if row["strict_outcome"] == "unread" or not Format(completion_format)(sample, row["completion"]).value:
        return "not in full form"
    if row["strict_outcome"] == "incorrect":
        return "wrong"
    if completion_format == "think_answer" and reasoning_outcome(row) == "incorrect":
        return "reasoning comes to another answer"
    return "right"


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """One row of each text."""
    return list({" ".join(row["completion"].split()): row for row in rows}.values())


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
