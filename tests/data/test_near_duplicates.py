"""Perceptual hashes: those of the package imagehash, stored once."""

from pathlib import Path

import pytest
from PIL import Image

from lowmed.data.audit.near_duplicates import near_pairs, perceptual_hash

IMAGES = Path(__file__).parent.parent / "fixtures" / "vqa-rad" / "images"
# What `imagehash.phash` of imagehash 4.3.2 gives.
HASHES = {
    "synpic16174.jpg": 0x8C74434EC34F1AEE,
    "synpic17153.jpg": 0xC62C3931E78EBC2C,
    "synpic18461.jpg": 0xDD2C12D34B4D4E4B,
    "synpic21604.jpg": 0xC1233E3CC3CB1D36,
    "synpic22684.jpg": 0xC56D3A90E08ECF69,
    "synpic22791.jpg": 0xC1613E9EB56DC035,
}


@pytest.mark.parametrize("name", HASHES)
def test_a_hash_is_that_of_imagehash(name: str) -> None:
    with Image.open(IMAGES / name) as image:
        assert perceptual_hash(image) == HASHES[name]


def test_a_smaller_copy_is_near_and_another_image_is_not() -> None:
    hashes = []
    for name in list(HASHES)[:2]:
        with Image.open(IMAGES / name) as image:
            hashes += [perceptual_hash(image), perceptual_hash(image.resize((image.width // 2, image.height // 2)))]
    assert {(left, right) for left, right, _ in near_pairs(hashes, hashes)} >= {(0, 1), (2, 3)}
    assert (0, 2) not in {(left, right) for left, right, _ in near_pairs(hashes, hashes)}
