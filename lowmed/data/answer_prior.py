"""What can be had without the image: the floor that stands beside every accuracy."""

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
    """Answers from the question alone: the most frequent training answer to it, else to its first words, else at all.

    Shown by evaluation as the no-image floor. Ties go to the first in the alphabet, so that the floor never moves.
    """

    def __init__(self, train: Iterable[Sample]) -> None:
        self._tables: list[dict[str, Counter[str]]] = [defaultdict(Counter) for _ in LEVELS]
        for sample in train:
            for key, table in zip(LEVELS, self._tables, strict=True):
                table[key(sample)][answer.normalize(sample.answer)] += 1

    def answer(self, sample: Sample) -> str:
        """The guess for a question, normalised; one of its options where it is a choice, "" where nothing was seen."""
        offered = {answer.normalize(option) for option in sample.options}
        for key, table in zip(LEVELS, self._tables, strict=True):
            counts = table.get(key(sample), Counter())
            possible = {text: count for text, count in counts.items() if not offered or text in offered}
            if possible:
                return min(possible, key=lambda text: (-possible[text], text))
        return min(offered, default="")


def answer_prior_accuracy(train: Iterable[Sample], test: Sequence[Sample]) -> float:
    """Share of test questions that the answer prior of the training samples gets right without any image."""
    prior = AnswerPrior(train)
    return sum(prior.answer(sample) == answer.normalize(sample.answer) for sample in test) / len(test)
