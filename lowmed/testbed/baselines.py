"""How difficult the testbed is without a model: guesses from the question, and linear classifiers on pixels."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lowmed.sample import Sample
from lowmed.testbed.samples import open_image

BLOCK_PIXELS = 4  # images are averaged over blocks of this side before a classifier sees them


def most_frequent(train: Sequence[Sample], test: Sequence[Sample], *, by_question: bool) -> NDArray[np.bool_]:
    """Whether the most frequent training answer is right for each test sample.

    Args:
        train: samples whose answers are counted.
        test: samples to answer.
        by_question: count answers to the same text; without any, and if false, count answers of the same topic.
    """
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for sample in train:
        counts[sample.topic][sample.answer] += 1
        counts[sample.question][sample.answer] += 1

    def guess(sample: Sample) -> str:
        of_question = counts.get(sample.question) if by_question else None
        answers = of_question or counts[sample.topic]
        return max(sorted(answers), key=lambda answer: answers[answer], default="")

    return np.array([guess(sample) == sample.answer for sample in test], dtype=bool)


def pixel_classifier(train: Sequence[Sample], test: Sequence[Sample]) -> NDArray[np.bool_]:
    """Whether a linear classifier of the last image and the question answers each test sample right.

    One logistic regression for each topic on 28 x 28 gray levels, with one column for each word of the questions.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    right = np.zeros(len(test), dtype=bool)
    for topic in sorted({sample.topic for sample in test}):
        learned = [sample for sample in train if sample.topic == topic]
        places = [place for place, sample in enumerate(test) if sample.topic == topic]
        words = sorted({word for sample in learned for word in sample.question.split()})
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        model.fit(_features(learned, words), [sample.answer for sample in learned])
        held_out = [test[place] for place in places]
        right[places] = model.predict(_features(held_out, words)) == np.array([sample.answer for sample in held_out])
    return right


def _features(samples: Sequence[Sample], words: Sequence[str]) -> NDArray[np.float64]:
    rows = []
    for sample in samples:
        grey = np.asarray(open_image(sample.images[-1]).convert("L"), dtype=np.float64)
        side = len(grey) // BLOCK_PIXELS
        blocks = grey.reshape(side, BLOCK_PIXELS, side, BLOCK_PIXELS).mean(axis=(1, 3)).ravel()
        contained = set(sample.question.split())
        rows.append(np.concatenate((blocks, [100.0 * (word in contained) for word in words])))
    return np.array(rows)
