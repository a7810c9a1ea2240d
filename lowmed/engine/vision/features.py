"""The features of single images, pooled to vectors of one length, for classifiers."""

from collections.abc import Iterator, Sequence
from math import isqrt
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from lowmed.data.image.policy import prepare
from lowmed.engine.load import Loaded
from lowmed.engine.prefix.sampling import unwrapped
from lowmed.errors import SetupError

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

GRID = 2  # pooled cells in each direction: left and right, above and below stay apart
INPUTS = ("pixel_values", "image_grid_thw", "pixel_attention_mask")


def pooled_features(loaded: Loaded, images: Sequence[Image.Image]) -> Iterator["NDArray[float32]"]:
    """The mean features of the four quarters of each image, as the language model receives them.

    Args:
        loaded: a model that reads images.
        images: the images. Each is resized by the pixel policy.

    Yields:
        [4 * width of the language model] for each image.

    Raises:
        SetupError: the model reads text only.
    """
    if loaded.family.text_only:
        raise SetupError("the model reads no images", "the model", "name a vision-language model")
    model = unwrapped(loaded.model)
    for image in images:
        encoded = loaded.processor.image_processor(images=[prepare(image, loaded.policy)], return_tensors="pt")
        inputs = {name: encoded[name].to(model.device) for name in INPUTS if name in encoded}
        with torch.no_grad():
            features = model.get_image_features(**inputs).pooler_output
        yield _pool(_joined(features), _grid(loaded, inputs))


def _joined(features: Any) -> torch.Tensor:
    """[tokens, width], from a tensor or from one tensor for each image."""
    joined = features if isinstance(features, torch.Tensor) else torch.cat(list(features))
    return joined.flatten(0, -2).float()


def _grid(loaded: Loaded, inputs: dict[str, torch.Tensor]) -> tuple[int, int] | None:
    """Rows and columns of the tokens of an image; None for a square."""
    if "image_grid_thw" not in inputs:
        return None
    merge = loaded.processor.image_processor.merge_size
    _, height, width = inputs["image_grid_thw"][0].tolist()
    return height // merge, width // merge


def _pool(features: torch.Tensor, grid: tuple[int, int] | None) -> "NDArray[float32]":
    rows, columns = grid or (isqrt(len(features)),) * 2
    by_place = features.reshape(rows, columns, -1).permute(2, 0, 1)[None]
    pooled: NDArray[float32] = torch.nn.functional.adaptive_avg_pool2d(by_place, GRID).flatten().cpu().numpy()
    return pooled
