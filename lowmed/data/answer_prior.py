"""Answer-prior baseline: the accuracy without looking at the image."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from lowmed import answer
from lowmed.answer.similarity import rouge_l
from lowmed.sample import Sample

CANDIDATES, COMPARED = 100, 200  # reports that may be the central one, and those with which each is compared
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
    deterministic. Reports are seldom equal, so the prior of a report is the training report that is most similar to the
    others.
    """

    def __init__(self, train: Iterable[Sample]) -> None:
        self._tables: list[dict[str, Counter[str]]] = [defaultdict(Counter) for _ in LEVELS]
        train = tuple(train)
        self._report = central_report([sample.answer for sample in train if sample.kind == "report"])
        for sample in train:
            for key, table in zip(LEVELS, self._tables, strict=True):
                table[key(sample)][answer.normalize(sample.answer)] += 1

    def answer(self, sample: Sample) -> str:
        """The predicted answer, normalized: for a choice one of its options; "" if the training split is empty.

        A predicted report is not normalized.
        """
        if sample.kind == "report" and self._report:
            return self._report
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


def central_report(reports: Sequence[str]) -> str:
    """The report with the highest mean ROUGE-L with the others, of at most CANDIDATES evenly spread; "" without any.

    It is the best constant text by that figure, and of clinical reports usually one of a normal image. Ties go to the
    alphabetically first report.
    """
    spread = sorted(reports)
    others = spread[:: -(-len(spread) // COMPARED) or 1]
    candidates = dict.fromkeys(spread[:: -(-len(spread) // CANDIDATES) or 1])
    return max(candidates, key=lambda text: sum(rouge_l(text, other) for other in others), default="")
