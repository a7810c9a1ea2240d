"""Reports of phantom images, with the same images and random words as phantom.

A report has one sentence for the modality and the first lesion, and one for each further lesion, or a single sentence
if there is no lesion. Its words are those of phantom's explanations, which the embedded model has learned. At most
three lesions are described one by one; of four, the report states the number.
"""

from lowmed.nano import phantom
from lowmed.nano.phantom import NUMBERS, Scene, Split
from lowmed.sample import Sample

QUESTION = "Write a report of this image."
SOURCE = "phantom-report"


def samples(split: Split, count: int, seed: int = 0) -> list[Sample]:
    """The first `count` samples of a split. A larger count only adds samples at the end.

    Raises:
        DataError: the split does not exist, or the seed or the count is out of range.
    """
    return [_sample(f"phantom/{split}/{seed}/{index}") for index in range(count)]


def _sample(reference: str) -> Sample:
    scene = phantom.scene_of(reference)
    return Sample(
        id=reference,
        question=QUESTION,
        answer=report(scene),
        kind="report",
        group=reference,
        source=SOURCE,
        images=(reference,),
        modality=scene.modality,
        topic=_topic(len(scene.lesions)),
    )


def _topic(lesions: int) -> str:
    return f"{NUMBERS[lesions]} lesion{'s' if lesions > 1 else ''}" if lesions else "normal"


def report(scene: Scene) -> str:
    """The report of an image, in one to three sentences."""
    start = f"The {scene.modality} image shows"
    if not scene.lesions:
        return f"{start} normal tissue and no lesion."
    if len(scene.lesions) > 3:
        return f"{start} {NUMBERS[len(scene.lesions)]} lesions."
    (first, size), *others = scene.lesions
    sentences = [f"{start} one {size} lesion in the {first}."]
    sentences += [f"It shows one {size} lesion in the {quadrant}." for quadrant, size in others]
    return " ".join(sentences)
