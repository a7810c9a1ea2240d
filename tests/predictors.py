"""Predictors whose metrics can be computed by hand, and helpers to evaluate them."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lowmed import prompt
from lowmed.data.split import DataSplit
from lowmed.evaluation import results_folder, runner
from lowmed.evaluation.answerer import Answerer, Completion, OpenImage
from lowmed.evaluation.report import eval_settings, report
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec
from lowmed.sample import LETTERS, Sample

Look = Callable[[], list[Image.Image]]
Predict = Callable[[Sample, Look], str]


def division(test: Sequence[Sample], train: Sequence[Sample] = (), shared: frozenset[str] = frozenset()) -> DataSplit:
    return DataSplit(
        "phantom", tuple(train), {"test": tuple(test)}, {"test": shared}, {"test": shared}, phantom.open_image, "d" * 64
    )


def tagged(sample: Sample, answer: str) -> str:
    """A completion in the requested format. A choice is answered by its letter."""
    if sample.kind == "choice" and answer in sample.options:
        answer = LETTERS[sample.options.index(answer)]
    return f"<think>So it is.</think><answer>{answer}</answer>"


def answering(predict: Predict) -> Answerer:
    def answer(
        samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
    ) -> Iterator[Completion]:
        del temperature
        for sample in samples:
            for _ in range(copies):
                text = predict(sample, lambda sample=sample: [open_image(image) for image in sample.images])  # type: ignore[misc]
                yield Completion(sample, text, 5, "stop")

    return answer


def perfect(sample: Sample, _look: Look) -> str:
    """Gives the gold answer to every question, even if the image does not show it."""
    return tagged(sample, sample.answer)


def sighted(samples: Sequence[Sample]) -> Predict:
    """Answers from the pixels that it gets, and always the same without a known image."""
    truth = {first_image(sample).tobytes(): sample for sample in samples}
    mirrored = {first_image(sample).transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes(): sample for sample in samples}

    def predict(sample: Sample, look: Look) -> str:
        images = look()
        seen = images[0].tobytes() if images else b""
        if seen in truth and truth[seen].topic == sample.topic:
            return tagged(sample, truth[seen].answer)
        if seen in mirrored and mirrored[seen].topic == sample.topic:
            return tagged(sample, exchanged(mirrored[seen].answer))
        return tagged(sample, "I can see nothing")

    return predict


def question_only(sample: Sample, _look: Look) -> str:
    """Ignores the image: gives phantom's most frequent answer to the question's topic."""
    return tagged(sample, phantom.HABITS[sample.topic])


def constant(text: str) -> Predict:
    return lambda sample, look: text


def guessing(seed: int) -> Predict:
    draw = random.Random(seed)
    return lambda sample, look: tagged(sample, draw.choice(sample.options or ("yes", "no")))


def first_image(sample: Sample) -> Image.Image:
    return phantom.open_image(sample.images[0])


def exchanged(text: str) -> str:
    return text.replace("left", "\0").replace("right", "left").replace("\0", "right")


def evaluated(
    folder: Path,
    data_split: DataSplit,
    predict: Predict,
    *,
    controls: int = 1000,
    samples: int = 0,
    system: str = "base",
) -> dict[str, Any]:
    """Evaluate one predictor and return the content of the report."""
    family = prompt.family("reasoning")
    settings = eval_settings(ModelSpec(name="nano"), family, data_split, max_new_tokens=64, seen="")
    results_folder.open_folder(folder, settings)
    runner.run_conditions(
        folder,
        system,
        runner.list_conditions(data_split, controls=controls, samples=samples),
        lambda: answering(predict),
        train=data_split.train,
        advance=lambda done, note: None,
    )
    return report(folder).model_dump(exclude_unset=True)
