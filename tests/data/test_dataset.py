"""The loaded data set: its digests and its description."""

from dataclasses import replace

import pytest
from PIL import Image

from lowmed.data.dataset import DataSet, RejectedRow, is_yes_no
from lowmed.errors import DataError
from lowmed.sample import Sample

ONE = Sample(id="1", question="Fracture?", answer="no", kind="closed", group="a", source="made", images=("a",))
TWO = Sample(id="2", question="Organ?", answer="lung", kind="open", group="b", source="made", images=("b",))


def opened(reference: str) -> Image.Image:
    if reference == "gone":
        raise DataError("the image file does not exist", reference, "copy it")
    return Image.new("L", (8, 8), ord(reference))


def data(**splits: tuple[Sample, ...]) -> DataSet:
    return DataSet("made", splits, (), opened)


def test_the_digest_depends_on_everything_but_the_order() -> None:
    digest = data(train=(ONE, TWO)).digest
    assert digest == data(train=(TWO, ONE)).digest
    others = [
        data(train=(ONE,)),
        data(train=(ONE, TWO, TWO)),
        data(train=(ONE,), test=(TWO,)),
        data(train=(ONE, replace(TWO, answer="liver"))),
        data(train=(ONE, replace(TWO, images=("a",)))),
        data(train=(ONE, replace(TWO, explanation="x"))),
    ]
    assert len({digest, *(other.digest for other in others)}) == 7


def test_the_description_counts_splits_kinds_and_rejections() -> None:
    rejected = (RejectedRow("row 1", "no answer"), RejectedRow("row 2", "no image"), RejectedRow("row 9", "no answer"))
    text = DataSet("made", {"train": (ONE, ONE), "test": (TWO,)}, rejected, opened, ("c.png",)).describe()
    assert text.splitlines() == [
        "made: 3 samples",
        "  train: 2 rows, 1 images; closed 2 (yes/no answers 2)",
        "  test: 1 rows, 1 images; open 1 (yes/no answers 0)",
        "  repeated: 1 rows repeat an earlier question about the same images",
        "  rejected: 3 rows",
        "    2 x no answer (first: row 1)",
        "    1 x no image (first: row 2)",
        "  unused images: 1 (first: c.png)",
    ]


@pytest.mark.parametrize(("answer", "expected"), [("Yes", True), (" NO ", True), ("no.", False), ("not sure", False)])
def test_yes_and_no_are_exact(answer: str, expected: bool) -> None:
    assert is_yes_no(answer) is expected
