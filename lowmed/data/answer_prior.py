"""Answer-prior baseline: the accuracy without looking at the image."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from lowmed import answer
from lowmed.sample import Sample

Key = Callable[[Sample], str]
LEVELS: tuple[Key, ...] = (
    lambda sample: sample.question.casefold(),
    lambda sample: " ".join(sample.question.casefold().split()[:2]),
    lambda sample: sample.kind,
    lambda sample: "",
)


class AnswerPrior:
    """Predicts the most frequent training answer to the same question, else to its first words, its kind, or anything.

    Evaluation shows it as the no-image baseline. Ties go to the alphabetically first answer, so that the baseline is
    deterministic.
    """

    def __init__(self, train: Iterable[Sample]) -> None:
        self._tables: list[dict[str, Counter[str]]] = [defaultdict(Counter) for _ in LEVELS]
        for sample in train:
            for key, table in zip(LEVELS, self._tables, strict=True):
                table[key(sample)][answer.normalize(sample.answer)] += 1

    def answer(self, sample: Sample) -> str:
        """The predicted answer, normalized: for a choice one of its options; "" if the training split is empty."""
        options = {answer.normalize(option) for option in sample.options}
        for key, table in zip(LEVELS, self._tables, strict=True):
            counts = table.get(key(sample), Counter())
            possible = {text: count for text, count in counts.items() if not options or text in options}
            if possible:
                return min(possible, key=lambda text: (-possible[text], text))
        return min(options, default="")


def answer_prior_accuracy(train: Iterable[Sample], test: Sequence[Sample]) -> float:
    """The share of test questions that the answer prior of the training samples answers correctly."""
    prior = AnswerPrior(train)
    return sum(prior.answer(sample) == answer.normalize(sample.answer) for sample in test) / len(test)
