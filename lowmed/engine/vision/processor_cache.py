"""A cache of processed images, so that every distinct image is processed once.

TRL processes the images of every row, before sampling and again before the loss. For a group of eight completions one
image would be resized, normalized and cut into patches sixteen times.
"""

from typing import Any

import torch
import xxhash
from PIL import Image
from transformers import BatchFeature
from transformers.image_utils import make_flat_list_of_images

from lowmed.engine import patches
from lowmed.engine.vision.lru import TensorCache

CACHE_BYTES = 2**28  # of CPU memory: 54 images of 256 tokens, the distinct ones of a large step


def cache_processed_images(processor: Any) -> None:
    """Add a cache to the processor's image processor. A saved processor is the same as before."""
    original = type(processor.image_processor)
    cache = TensorCache(CACHE_BYTES)

    class CachingImageProcessor(original):  # type: ignore[misc, valid-type]  # transformers is untyped
        def __call__(self, images: Any, *arguments: Any, **options: Any) -> Any:
            flat = make_flat_list_of_images(images)
            if arguments or not all(isinstance(image, Image.Image) for image in flat):
                return super().__call__(images, *arguments, **options)
            processed = []
            for image in flat:
                key = digest(image, {**vars(self), **options})
                tensors = cache.get(key)
                if tensors is None:
                    outputs = super().__call__([image], **options | {"return_tensors": "pt"})
                    tensors = outputs["pixel_values"], outputs["image_grid_thw"]
                    cache.put(key, *tensors)
                processed.append(tensors)
            pixels, grids = (torch.cat(parts) for parts in zip(*processed, strict=True))
            return BatchFeature(
                {"pixel_values": pixels, "image_grid_thw": grids}, tensor_type=options.get("return_tensors")
            )

    patches.replace_class(processor.image_processor, CachingImageProcessor)


def digest(image: Image.Image, settings: dict[str, Any]) -> bytes:
    """128 bits that identify an image before processing, and the settings of its processing."""
    state = xxhash.xxh3_128(f"{image.mode} {image.size} {sorted(settings.items(), key=str)}".encode())
    state.update(image.tobytes())
    return state.digest()
