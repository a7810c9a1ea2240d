"""Test whether image features carry the answers: classifiers on the features of labeled images, without any prompt.

MedBridgeRL (arXiv:2603.01301) separates what a vision tower sees from what the language model makes of it. A linear
classifier and nearest neighbors show the first. The same classifiers on small gray images show what needs no tower.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lowmed.answer import normalize
from lowmed.answer.yes_no import is_yes_no, read_yes_no
from lowmed.evaluation.classification import Case, balanced_accuracy
from lowmed.evaluation.combined_intervals import measured_change, weighted_sum
from lowmed.evaluation.records import Figure, VisionTarget
from lowmed.sample import Sample

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

FOLDS = 5
MIN_IMAGES = 10  # of each class, by group
MOST_TARGETS = 20
NEIGHBORS = 5
# Inverse strength of the L2 penalty. Features have thousands of values and data sets hundreds of images.
PENALTY = 0.01


@dataclass(frozen=True)
class Labeled:
    """A question that recurs, and its samples with their classes.

    Attributes:
        question: its text.
        samples: its samples, each with one image.
        classes: the class of each sample.
    """

    question: str
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]


def labeled_questions(samples: Sequence[Sample]) -> list[Labeled]:
    """The questions that recur with at least two answers, which make a classification of images; the largest first.

    Samples belong together if question, kind and options are the same and they have one image. An answer is a class if
    at least 10 groups have it; samples with other answers are left out.
    """
    together: dict[tuple[str, ...], list[tuple[Sample, str]]] = defaultdict(list)
    for sample in samples:
        if len(sample.images) == 1 and (label := _class_of(sample)):
            key = (" ".join(sample.question.casefold().split()), sample.kind, *sorted(sample.options))
            together[key].append((sample, label))
    recurring = [one for members in together.values() if (one := _labeled(members))]
    recurring.sort(key=lambda one: (-len(one.samples), one.question))
    return recurring[:MOST_TARGETS]


def _class_of(sample: Sample) -> str:
    """The class of a gold answer; "" if the kind of question has none."""
    if sample.kind == "choice":
        return sample.answer
    if sample.kind == "closed" and is_yes_no(sample.answer):
        return read_yes_no(sample.answer)[0] or ""
    return normalize(sample.answer) if sample.kind in ("closed", "open") else ""


def _labeled(members: Sequence[tuple[Sample, str]]) -> Labeled | None:
    groups = defaultdict(set)
    for sample, label in members:
        groups[label].add(sample.group)
    kept = [(sample, label) for sample, label in members if len(groups[label]) >= MIN_IMAGES]
    if len({label for _, label in kept}) < 2:
        return None
    samples, classes = zip(*kept, strict=True)
    return Labeled(samples[0].question, samples, classes)


def measure(question: Labeled, features: "NDArray[float32]", pixels: "NDArray[float32]") -> VisionTarget:
    """Classify the images of a question by features and by pixels, each predicted by a model of the other groups.

    Args:
        question: the samples and their classes.
        features: [samples, values], of the vision tower.
        pixels: [samples, values], of small gray images.
    """
    linear, neighbors = _linear(), _neighbors()
    by_features, by_pixels = _predict(linear, question, features), _predict(linear, question, pixels)
    return VisionTarget(
        question=question.question,
        questions=len(question.samples),
        groups=len({sample.group for sample in question.samples}),
        classes={name: question.classes.count(name) for name in sorted(set(question.classes))},
        chance=1 / len(set(question.classes)),
        linear=_figure(by_features),
        neighbors=_figure(_predict(neighbors, question, features)),
        pixels_linear=_figure(by_pixels),
        pixels_neighbors=_figure(_predict(neighbors, question, pixels)),
        linear_gain=_gain(by_features, by_pixels),
    )


def _linear() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=2000, class_weight="balanced"))


def _neighbors() -> Any:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), KNeighborsClassifier(NEIGHBORS))


def _predict(model: Any, question: Labeled, values: "NDArray[float32]") -> list[Case]:
    """Predictions of five-fold cross-validation; all samples of a group are in one fold."""
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    groups = [sample.group for sample in question.samples]
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    predicted = cross_val_predict(model, values, list(question.classes), groups=groups, cv=folds)
    return [
        Case(gold, str(answer), group) for gold, answer, group in zip(question.classes, predicted, groups, strict=True)
    ]


def _figure(cases: Sequence[Case]) -> Figure:
    figure = balanced_accuracy(cases)
    assert figure is not None, "a labeled question has two classes"
    return figure


def _gain(first: Sequence[Case], second: Sequence[Case]) -> Figure:
    """Balanced accuracy of the first cases minus that of the second, on the same samples."""
    by_class: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for one, other in zip(first, second, strict=True):
        change = (one.answer == one.gold) - (other.answer == other.gold)
        by_class[one.gold].append((change, one.group))
    changes = [
        measured_change([change for change, _ in some], [group for _, group in some]) for some in by_class.values()
    ]
    parts = [change for change in changes if change]
    value, interval = weighted_sum(parts, [1 / len(parts)] * len(parts), (-1.0, 1.0))
    return Figure(value=value, by_image=interval)


def verdict(target: VisionTarget) -> str:
    """What the figures of a question say, in a few words.

    The neighbors do not count: a second look would double the share of questions without a signal that are called seen.
    """
    if target.linear.by_image[0] <= target.chance:
        return "not seen"
    return "seen" if target.linear_gain.by_image[0] > 0 else "seen, as by pixels"
