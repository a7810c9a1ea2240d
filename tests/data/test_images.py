"""The pixel policy: the sizes of the processor, and images of every unusual kind."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lowmed.data.image.files import decode
from lowmed.data.image.policy import MIN_SIDE_PX, PixelPolicy, image_tokens, prepare, target_size
from lowmed.data.ingest.image_store import pixel_digest
from lowmed.errors import DataError, RecipeError

VQA_RAD = Path(__file__).parents[2] / "../shared/data/vqa-rad"
PART = Path(__file__).parents[1] / "fixtures/vqa-rad"
POLICY = PixelPolicy(256)

sides = st.integers(1, 5000)
policies = st.one_of(st.integers(4, 40), st.integers(4, 16384)).map(PixelPolicy)


def gradient(mode: str, width: int = 60, height: int = 40) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).convert(mode)


@settings(max_examples=500, deadline=None)
@given(sides, sides, policies)
@example(1, 1, POLICY)
@example(200, 1, POLICY)
@example(2544, 3056, PixelPolicy(512))
@example(14, 14, POLICY)
@example(42, 70, POLICY)
def test_sizes_are_those_of_the_processor(width: int, height: int, policy: PixelPolicy) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    try:
        expected = smart_resize(height, width, 28, policy.min_pixels, policy.max_pixels)
    except ValueError:
        with pytest.raises(DataError):
            image_tokens(width, height, policy)
        return
    assert target_size(width, height, policy) == expected[::-1]
    assert image_tokens(width, height, policy) == expected[0] * expected[1] // 784


@settings(max_examples=1000, deadline=None)
@given(st.integers(MIN_SIDE_PX, 5000), st.integers(MIN_SIDE_PX, 5000), policies)
@example(569, 569, PixelPolicy(4))
@example(100, 50, PixelPolicy(8))
@example(84, 84, PixelPolicy(9))
@example(4200, 28, PixelPolicy(100))
def test_a_size_within_the_budget_is_not_resized_again(width: int, height: int, policy: PixelPolicy) -> None:
    if max(width, height) > 200 * min(width, height):
        return
    size = target_size(width, height, policy)
    if image_tokens(width, height, policy) <= policy.max_image_tokens:
        assert target_size(*size, policy) == size
        assert image_tokens(width, height, policy) >= policy.min_image_tokens


def test_the_processor_does_not_change_a_prepared_image() -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    policy = PixelPolicy(64)
    processor = Qwen2VLImageProcessor(min_pixels=policy.min_pixels, max_pixels=policy.max_pixels, do_normalize=False)
    for width, height in [(2544, 3056), (28, 28), (9, 500), (640, 480)]:
        prepared = prepare(gradient("RGB", width, height), policy)
        seen = processor(images=[prepared], return_tensors="pt")
        assert int(seen["image_grid_thw"].prod()) // 4 == image_tokens(width, height, policy)
        raw = processor(images=[prepared], return_tensors="pt", do_resize=False)
        assert seen["pixel_values"].equal(raw["pixel_values"])


def test_token_counts_of_a_chest_radiograph() -> None:
    assert image_tokens(2544, 3056, PixelPolicy(16384)) == 9919
    assert image_tokens(2544, 3056, PixelPolicy(512)) == 480
    assert image_tokens(384, 384, PixelPolicy(16384)) == 196


def test_an_image_narrower_than_1_to_200_is_refused_by_name() -> None:
    assert image_tokens(2800, 14, POLICY) > 0
    with pytest.raises(DataError, match="2801 x 14"):
        image_tokens(2801, 14, POLICY)
    with pytest.raises(DataError):
        image_tokens(0, 5, POLICY)


def test_round_shapes_are_not_resized_again_under_small_budgets() -> None:
    for policy in map(PixelPolicy, range(4, 41)):
        for width in range(8, 240, 4):
            for height in (width, 2 * width, 3 * width, 4 * width, 5 * width):
                size = target_size(width, height, policy)
                if image_tokens(width, height, policy) <= policy.max_image_tokens:
                    assert target_size(*size, policy) == size, (width, height, policy)


@pytest.mark.parametrize("most", [3, 0, -1])
def test_a_policy_below_four_tokens_is_a_recipe_error(most: int) -> None:
    with pytest.raises(RecipeError, match="max_image_tokens"):
        PixelPolicy(most)


def test_a_strip_over_the_budget_is_refused_with_the_budget_that_it_needs() -> None:
    strip = gradient("L", 1600, 10)
    with pytest.raises(DataError, match="more than the 9 allowed") as caught:
        prepare(strip, PixelPolicy(9), "row 7")
    assert caught.value.where == "row 7"
    enough = PixelPolicy(int(caught.value.fix.split(" to ")[1]))
    prepared = prepare(strip, enough)
    assert prepared.width * prepared.height <= enough.max_pixels


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_every_image_mode_becomes_rgb(mode: str) -> None:
    seen = np.asarray(prepare(gradient(mode), POLICY))
    assert seen.shape == (56, 84, 3)
    assert seen[:8].mean() < 60
    assert seen[-8:].mean() > 195


def test_sixteen_bits_are_rescaled_not_clipped() -> None:
    twelve_bit = np.linspace(1000, 4095, 56 * 56).reshape(56, 56).astype("<u2")
    stored = io.BytesIO()
    Image.fromarray(twelve_bit).save(stored, "PNG")
    for image in (Image.open(stored), Image.frombytes("I;16B", (56, 56), twelve_bit.astype(">u2").tobytes())):
        grey = np.asarray(prepare(image, POLICY))[..., 0]
        assert (grey.min(), grey.max()) == (0, 255)
        assert len(np.unique(grey)) == 256


def test_a_constant_sixteen_bit_image_becomes_black() -> None:
    flat = Image.fromarray(np.full((56, 56), 40000, np.uint16))
    assert not np.asarray(prepare(flat, POLICY)).any()


def test_nan_and_infinite_pixels_are_refused() -> None:
    values = np.zeros((56, 56), np.float32)
    values[3, 3] = np.nan
    with pytest.raises(DataError, match="not finite"):
        prepare(Image.fromarray(values), POLICY, "scan.tif")


def test_bright_content_on_transparency_is_composited_on_black() -> None:
    white = Image.new("RGBA", (56, 56), (255, 255, 255, 0))
    white.paste((255, 255, 255, 255), (0, 0, 28, 56))
    seen = np.asarray(prepare(white, POLICY))
    assert seen[:, :20].min() == 255
    assert seen[:, 36:].max() == 0
    palette = white.convert("P")
    palette.info["transparency"] = palette.getpixel((50, 5))
    assert np.asarray(prepare(palette, POLICY))[:, 36:].max() == 0


def test_the_exif_orientation_is_applied_once() -> None:
    image = Image.new("L", (112, 56), 0)
    image.paste(255, (0, 0, 56, 56))
    exif = Image.Exif()
    exif[274] = 6  # the top of the scene is on the right side of the stored image
    stored = io.BytesIO()
    image.save(stored, "JPEG", exif=exif, quality=95)
    seen = prepare(Image.open(stored), POLICY)
    assert seen.size == (56, 112)
    assert np.asarray(seen)[:50].mean() > 200
    assert np.asarray(seen)[62:].mean() < 50
    assert prepare(seen, POLICY).tobytes() == seen.tobytes()


@pytest.mark.parametrize("size", [(1, 1), (1, 100), (7, 56), (8, 1601)])
def test_images_that_show_nothing_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="too small or too narrow"):
        prepare(Image.new("L", size), POLICY)


def test_a_truncated_image_is_named() -> None:
    stored = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(stored, "JPEG")
    with pytest.raises(DataError, match="truncated") as caught:
        prepare(Image.open(io.BytesIO(stored.getvalue()[:2000])), POLICY, "sample 12")
    assert caught.value.where == "sample 12"


def test_damage_anywhere_is_a_data_error_or_an_image() -> None:
    stored = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stored, "PNG")
    content, randomness = stored.getvalue(), np.random.default_rng(0)
    outcomes = set()
    for _ in range(200):
        damaged = bytearray(content)
        for place in randomness.integers(8, len(content), 5):
            damaged[place] ^= 1 << int(randomness.integers(8))
        try:
            outcomes.add(prepare(decode(io.BytesIO(bytes(damaged)), "x.png"), POLICY).mode)
        except DataError as error:
            outcomes.add(error.where)
    assert "x.png" in outcomes
    assert outcomes <= {"x.png", "RGB"}


def test_the_digest_is_of_the_pixels() -> None:
    image = gradient("L")
    stored = io.BytesIO()
    image.save(stored, "PNG", pnginfo=None)
    assert pixel_digest(Image.open(stored)) == pixel_digest(image)
    digests = {
        pixel_digest(image),
        pixel_digest(image.convert("RGB")),
        pixel_digest(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(90, expand=True)),
        pixel_digest(image.point(lambda value: 255 - value)),
        pixel_digest(Image.frombytes("L", (40, 60), image.tobytes())),
    }
    assert len(digests) == 5


@pytest.mark.parametrize(("folder", "count"), [(VQA_RAD, 315), (PART, 61)], ids=["complete", "part"])
def test_real_radiographs_are_prepared(folder: Path, count: int) -> None:
    if not folder.is_dir():
        pytest.skip("the real VQA-RAD is not at ../shared/data/vqa-rad")
    files = sorted((folder / "images").iterdir())
    assert len(files) == count
    for file in files[:: count // 20]:
        with Image.open(file) as image:
            prepared = prepare(image, POLICY)
            tokens = image_tokens(*image.size, POLICY)
        assert prepared.width * prepared.height == tokens * 784
        assert tokens <= 256
        assert np.asarray(prepared).std() > 5
