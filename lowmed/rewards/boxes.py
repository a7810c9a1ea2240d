"""Overlap of predicted boxes with the gold boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lowmed import answer
from lowmed.boxes import Box, matched, parse_boxes
from lowmed.rewards.score import Score
from lowmed.sample import Kind, Sample


@dataclass(frozen=True)
class Boxes:
    """Soft F-measure of boxes: each gold box earns credit by its overlap (IoU) with its own predicted box.

    The credit is 0 up to `floor`, rises to 0.5 at `threshold` and to 1 at a perfect overlap. It is also 0 up to the
    overlap of the gold box with the complete image, so that a box around everything earns nothing. Boxes are matched
    one to one for the highest sum of credits. Precision is that sum over the predicted boxes, recall over the gold
    boxes; `beta` above 1 favors recall. More than 2 x gold + 2 boxes earn nothing. A right "none" earns `none`: with 1
    a model would learn to show nothing. Gold boxes count as the model can write them, in integer units of its grid.

    The form is that of a thesis on reward forms for RadVLM (github.com/rfahrn/Master-Thesis-Code).
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("boxes",)
    threshold: float = 0.5
    floor: float = 0.15
    beta: float = 1.0
    none: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.floor < self.threshold < 1:
            raise ValueError("floor and threshold are overlaps: 0 <= floor < threshold < 1")
        if self.beta <= 0:
            raise ValueError("beta is above 0")
        _require_share(self.none)

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        read = _read(sample, completion, self.none)
        if isinstance(read, Score):
            return read
        gold, predicted, text = read
        width, height = sample.box_grid
        covered = [box.area / (width * height) for box in gold]
        credit = matched(gold, predicted, lambda row, overlap: self._credit(overlap, covered[row]))
        total = sum(credit)
        value = (1 + self.beta**2) * total / (self.beta**2 * len(gold) + len(predicted))
        return Score(value, f"credit {total:.2f} of {_count(gold)}, {len(predicted)} in the answer", text)

    def most(self, sample: Sample) -> float:
        """The score of the right answer."""
        return _most(sample, self.none)

    def _credit(self, overlap: float, covered: float) -> float:
        """Piecewise linear in the overlap; `covered` is the share of the image that the gold box takes."""
        floor = max(self.floor, covered) if covered < 1 else self.floor
        if overlap <= floor:
            return 0.0
        if floor >= self.threshold:
            return (overlap - floor) / (1 - floor)
        if overlap < self.threshold:
            return 0.5 * (overlap - floor) / (self.threshold - floor)
        return 0.5 + 0.5 * (overlap - self.threshold) / (1 - self.threshold)


@dataclass(frozen=True)
class BoxIou:
    """Mean overlap (IoU) of the boxes: the sum over matched pairs, over the larger number of boxes.

    A right "none" earns `none`; more than 2 x gold + 2 boxes earn nothing. A box around the complete image earns the
    share of the image that the gold box takes; the reward `boxes` pays nothing for it. VLM-R1
    (github.com/om-ai-lab/VLM-R1) pays the plain IoU of one box.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("boxes",)
    none: float = 0.3

    def __post_init__(self) -> None:
        _require_share(self.none)

    def most(self, sample: Sample) -> float:
        """The score of the right answer."""
        return _most(sample, self.none)

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        read = _read(sample, completion, self.none)
        if isinstance(read, Score):
            return read
        gold, predicted, text = read
        value = sum(matched(gold, predicted)) / max(len(gold), len(predicted))
        return Score(value, f"mean overlap with {_count(gold)}, {len(predicted)} in the answer", text)


def _require_share(none: float) -> None:
    if not 0 <= none <= 1:
        raise ValueError("none is from 0 to 1")


def _most(sample: Sample, none: float) -> float:
    return 1.0 if sample.kind != "boxes" or parse_boxes(sample.answer)[0] else none


def _read(sample: Sample, completion: str, none: float) -> tuple[tuple[Box, ...], tuple[Box, ...], str] | Score:
    """Gold and predicted boxes, at least one each, in units of the grid, and the answer's text; else the score.

    The overlap does not depend on the units.
    """
    if sample.kind != "boxes":
        return Score(None, "the question is not about boxes")
    extracted = answer.extract(completion)
    text = extracted.text
    if not extracted.strict or text is None:
        return Score(0.0, f"no single answer tag ({extracted.problem or extracted.source})")
    predicted, problem = parse_boxes(text)
    if predicted is None:
        return Score(0.0, f"unread ({problem})", text)
    gold = parse_boxes(sample.written_answer)[0] or ()
    if not gold:
        return Score(0.0, "boxes where there are none", text) if predicted else Score(none, "rightly none", text)
    if not predicted:
        return Score(0.0, "none where there are boxes", text)
    if len(predicted) > 2 * len(gold) + 2:
        return Score(0.0, f"{len(predicted)} boxes for {_count(gold)}", text)
    return gold, predicted, text


def _count(gold: Sequence[Box]) -> str:
    return f"{len(gold)} gold box{'es' * (len(gold) > 1)}"
