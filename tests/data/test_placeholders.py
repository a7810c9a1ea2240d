"""Image placeholders of data sets and models are counted, and kept where they are."""

import pytest

from lowmed.data.ingest.placeholders import expand, images_first, place_images, without_marks

MARKS = (
    "<image>", "<Image>", "<ImageHere>", "<image_here>", "<img>", "<image_placeholder>", "<image_token>", "<image/>",
    "<|image|>", "<|image_pad|>", "<|vision_start|><|image_pad|><|vision_end|>", "<start_of_image>",
    "<image_soft_token>",
    "<|vision_start|><|image_pad|><|image_pad|><|image_pad|><|vision_end|>", "<img></img>", "[IMG]", "<picture>",
    "<img><IMG_CONTEXT><IMG_CONTEXT></img>", "[IMG][IMG][IMG_BREAK][IMG][IMG_END]",
)  # fmt: skip
NUMBERED = (
    "<image {}>",
    "<image_{}>",
    "<image{}>",
    "<image-{}>",
    "<Image #{}>",
    "<|image_{}|>",
    "<img{}>",
    "[image {}]",
)


@pytest.mark.parametrize("mark", MARKS)
def test_every_mark_becomes_a_placeholder(mark: str) -> None:
    assert place_images([f"Prior: {mark} Current: {mark}."], 2) == ("Prior: <image> Current: <image>.",)
    assert images_first(place_images([f"{mark}\n{mark} Same?"], 2)) == ("Same?",)
    for images in (0, 1, 3):
        with pytest.raises(ValueError, match=f"2 image placeholders, and the row {images} image"):
            place_images([f"{mark} and {mark}"], images)


@pytest.mark.parametrize("mark", NUMBERED)
@pytest.mark.parametrize("first", [0, 1])
def test_numbered_marks_are_places_or_names(mark: str, first: int) -> None:
    one, two = mark.format(first), mark.format(first + 1)
    assert place_images([f"{one} before, {two} after."], 2) == ("<image> before, <image> after.",)
    again = place_images([f"{one} before, {two} after. Is {one} worse?"], 2)
    assert again == ("image 1 before, image 2 after. Is image 1 worse?",)
    assert place_images([f"Is {two} worse than {one}?"], 2) == ("Is image 2 worse than image 1?",)
    assert place_images([f"<image><image>Is {one} worse?"], 2) == ("<image><image>Is image 1 worse?",)
    with pytest.raises(ValueError, match="1 image placeholder, and the row 2 images"):
        place_images([f"{one} only"], 2)
    with pytest.raises(ValueError, match="names image 7"):
        place_images([f"<image><image> {mark.format(7)}?"], 2)


def test_marks_are_counted_over_all_turns() -> None:
    assert place_images(["<image>Prior.", "And <image>?"], 2) == ("<image>Prior.", "And <image>?")
    assert images_first(("<image>Prior.", "And <image>?")) == ("<image>Prior.", "And <image>?")
    with pytest.raises(ValueError, match="2 image placeholders"):
        place_images(["<image>Prior.", "And <image>?"], 1)


@pytest.mark.parametrize("text", ["Is x < image y?", "imaging", "<imaging>", "[1] image", "image 1 and image 2", "<i>"])
def test_other_text_is_no_placeholder(text: str) -> None:
    assert place_images([text], 1) == (text,)


def test_options_name_images_by_words() -> None:
    assert without_marks("<image 2>") == "image 2"
    assert without_marks("CT") == "CT"


def test_a_file_with_several_images_takes_several_places() -> None:
    counts = iter([1, 3, 2])
    assert expand("Prior: <image> Stack: <image>", counts) == "Prior: <image> Stack: <image><image><image>"
    assert expand("Now <image>", counts) == "Now <image><image>"
    assert expand("No image", iter([])) == "No image"
