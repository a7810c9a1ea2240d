"""Every distinct image goes once through the image processor.

A trainer prepares the images of every row, in the rollout and again before the loss, so that a group of eight completions
resizes, normalises and cuts one image sixteen times.
"""

from typing import Any

import torch
import xxhash
from PIL import Image
from transformers import BatchFeature
from transformers.image_utils import make_flat_list_of_images

from lowmed.engine.vision.lru import TensorCache

KEPT_BYTES = 2**28  # of main memory: 54 images of 256 tokens, the distinct ones of a large update


def process_once(processor: Any) -> None:
    """Let the processor's image processor keep what it made of the last images.

    Its class is replaced by one of the same name, so that a saved processor looks as before.
    """
    stock = type(processor.image_processor)
    kept = TensorCache(KEPT_BYTES)

    class Once(stock):  # type: ignore[misc, valid-type]  # transformers is untyped
        def __call__(self, images: Any, *arguments: Any, **options: Any) -> Any:
            flat = make_flat_list_of_images(images)
            if arguments or not all(isinstance(image, Image.Image) for image in flat):
                return super().__call__(images, *arguments, **options)
            made = []
            for image in flat:
                key = digest(image, {**vars(self), **options})
                tensors = kept.get(key)
                if tensors is None:
                    result = super().__call__([image], **options | {"return_tensors": "pt"})
                    tensors = result["pixel_values"], result["image_grid_thw"]
                    kept.put(key, *tensors)
                made.append(tensors)
            pixels, grids = (torch.cat(parts) for parts in zip(*made, strict=True))
            return BatchFeature(
                {"pixel_values": pixels, "image_grid_thw": grids}, tensor_type=options.get("return_tensors")
            )

    Once.__name__ = Once.__qualname__ = stock.__name__
    processor.image_processor.__class__ = Once


def digest(image: Image.Image, settings: dict[str, Any]) -> bytes:
    """128 bits that stand for an image as it comes, and for the settings it is processed with."""
    result = xxhash.xxh3_128(f"{image.mode} {image.size} {sorted(settings.items(), key=str)}".encode())
    result.update(image.tobytes())
    return result.digest()
