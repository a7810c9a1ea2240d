"""Answer-prior baseline: the accuracy without looking at the image."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from lowmed import answer
from lowmed.answer.similarity import rouge_l
from lowmed.boxes import Box, boxes_text, on_grid, parse_boxes
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
    deterministic. For boxes it is the mean of all gold boxes, as shares of their images, by the same levels. For a
    report it is the training report that is most similar to the others, because reports are seldom equal.
    """

    def __init__(self, train: Iterable[Sample]) -> None:
        self._tables: list[dict[str, Counter[str]]] = [defaultdict(Counter) for _ in LEVELS]
        train = tuple(train)
        self._report = central_report([sample.answer for sample in train if sample.kind == "report"])
        self._boxes: list[dict[str, list[Box]]] = [defaultdict(list) for _ in LEVELS]
        for sample in train:
            if sample.kind == "boxes":
                self._add_boxes(sample)
                continue
            for key, table in zip(LEVELS, self._tables, strict=True):
                table[key(sample)][answer.normalize(sample.answer)] += 1

    def answer(self, sample: Sample) -> str:
        """The predicted answer: for a choice one of its options, for boxes one in units of its grid, else normalized.

        A predicted report is not normalized. It is "" if the training split has none.
        """
        if sample.kind == "report" and self._report:
            return self._report
        if sample.kind == "boxes":
            return self._mean_box(sample)
        options = {answer.normalize(option) for option in sample.options}
        for key, table in zip(LEVELS, self._tables, strict=True):
            counts = table.get(key(sample), Counter())
            possible = {text: count for text, count in counts.items() if not options or text in options}
            if possible:
                return min(possible, key=lambda text: (-possible[text], text))
        return min(options, default="")

    def is_right(self, sample: Sample) -> bool:
        """Whether the predicted answer is correct."""
        predicted = self.answer(sample)
        if sample.kind != "boxes":
            return predicted == answer.normalize(sample.answer)
        return answer.grade(answer.read(f"<answer>{predicted}</answer>", sample), sample).outcome == "correct"

    def _add_boxes(self, sample: Sample) -> None:
        width, height = sample.image_size
        relative = [box.scaled(1 / width, 1 / height) for box in parse_boxes(sample.answer)[0] or ()]
        for key, boxes in zip(LEVELS, self._boxes, strict=True):
            boxes[key(sample)] += relative

    def _mean_box(self, sample: Sample) -> str:
        boxes = next(filter(None, (table[key(sample)] for key, table in zip(LEVELS, self._boxes, strict=True))), [])
        if not boxes:
            return ""
        edges = zip(*(box.corners for box in boxes), strict=True)
        left, top, right, bottom = (sum(values) / len(boxes) for values in edges)
        return boxes_text(on_grid([Box((left, top, right, bottom))], (1, 1), sample.box_grid))


def answer_prior_accuracy(train: Iterable[Sample], test: Sequence[Sample]) -> float:
    """The share of test questions that the answer prior of the training samples answers correctly."""
    prior = AnswerPrior(train)
    return sum(map(prior.is_right, test)) / len(test)


def central_report(reports: Sequence[str]) -> str:
    """The report with the highest mean ROUGE-L with the others, of at most CANDIDATES evenly spread; "" without any.

    It is the best constant text by that figure, and of clinical reports usually one of a normal image. Ties go to the
    alphabetically first report.
    """
    spread = sorted(reports)
    others = spread[:: -(-len(spread) // COMPARED) or 1]
    candidates = dict.fromkeys(spread[:: -(-len(spread) // CANDIDATES) or 1])
    return max(candidates, key=lambda text: sum(rouge_l(text, other) for other in others), default="")
