"""Each distinct image is processed once, and the output stays the same to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from lowmed import nano
from lowmed.data.image.policy import PixelPolicy
from lowmed.engine.processor import load_processor
from lowmed.engine.vision import processor_cache
from lowmed.models.qwen_vl import QWEN2_VL

POLICY = PixelPolicy(64)


def stock() -> Any:
    return AutoProcessor.from_pretrained(
        nano.folder(), min_pixels=POLICY.min_pixels, max_pixels=POLICY.max_pixels
    ).image_processor


def once() -> Any:
    return load_processor(str(nano.folder()), None, POLICY, QWEN2_VL).image_processor


def gradient(width: int, height: int, red: int = 0) -> Image.Image:
    grey = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (grey.point(lambda value: (value + red) % 256), grey, grey))


@pytest.mark.parametrize("options", [{"return_tensors": "pt"}, {}, {"do_rescale": False, "return_tensors": "pt"}])
@pytest.mark.parametrize("nested", [False, True])
def test_output_equals_that_of_the_stock_processor_to_the_bit(options: dict[str, Any], nested: bool) -> None:
    one, other, wide = gradient(112, 112), gradient(112, 112, red=90), gradient(300, 41)
    images: list[Any] = [one, wide, one.copy(), other, one]
    if nested:
        images = [[image] for image in images]
    expected, ours = stock()(images, **options), once()
    for _warm in range(2):
        result = ours(images, **options)
        assert set(result) == set(expected)
        assert all(type(result[name]) is type(expected[name]) for name in result)
        assert torch.equal(result["pixel_values"], expected["pixel_values"])
        assert torch.equal(result["image_grid_thw"], expected["image_grid_thw"])


def test_equal_images_are_processed_once_and_again_with_other_options(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = once()
    calls: list[int] = []
    base = type(ours).__bases__[0]
    original = base.preprocess  # type: ignore[attr-defined]

    def counted(self: Any, images: Any, **options: Any) -> Any:
        calls.append(len(images))
        return original(self, images, **options)

    monkeypatch.setattr(base, "preprocess", counted)
    image = gradient(112, 112)
    ours([image] * 8, return_tensors="pt")
    ours([image.copy()], return_tensors="pt")
    assert calls == [1]
    ours([image], return_tensors="pt", do_normalize=False)
    ours([gradient(112, 112, red=1)], return_tensors="pt")
    assert calls == [1, 1, 1]
    ours.size = {"shortest_edge": 3136, "longest_edge": 6272}
    assert len(ours([image], return_tensors="pt")["pixel_values"]) <= 32


def test_images_of_another_shape_or_mode_with_the_same_bytes_are_different() -> None:
    wide, high = Image.new("RGB", (56, 28)), Image.new("RGB", (28, 56))
    assert wide.tobytes() == high.tobytes()
    assert processor_cache.digest(wide, {}) != processor_cache.digest(high, {})
    assert processor_cache.digest(Image.new("L", (6, 1)), {}) != processor_cache.digest(Image.new("RGB", (2, 1)), {})


def test_tensors_bypass_the_cache() -> None:
    array = torch.zeros(3, 56, 56, dtype=torch.uint8)
    assert torch.equal(
        once()([array], return_tensors="pt")["pixel_values"], stock()([array], return_tensors="pt")["pixel_values"]
    )


def test_a_saved_processor_is_unchanged(tmp_path: Path) -> None:
    processor = load_processor(str(nano.folder()), None, POLICY, QWEN2_VL)
    processor.image_processor([gradient(56, 56)], return_tensors="pt")
    processor.save_pretrained(tmp_path / "ours")
    stock = AutoProcessor.from_pretrained(nano.folder(), padding_side="left")
    stock.image_processor.size = {"shortest_edge": POLICY.min_pixels, "longest_edge": POLICY.max_pixels}
    stock.save_pretrained(tmp_path / "stock")
    for file in (tmp_path / "stock").iterdir():
        if "processor" in file.name:
            assert (tmp_path / "ours" / file.name).read_text() == file.read_text()
