"""The coordinate system in which a model writes boxes, for the samples of a data set."""

from dataclasses import replace

from lowmed.architectures import known_family
from lowmed.boxes import THOUSANDTHS, Size
from lowmed.data.dataset import DataSet
from lowmed.data.image.policy import PixelPolicy, pixel_policy, target_size
from lowmed.errors import DataError
from lowmed.recipe import ModelSpec
from lowmed.sample import Sample


def with_box_grid(dataset: DataSet, model: ModelSpec) -> DataSet:
    """The data set with the grid of the model in its questions about boxes.

    Most families write thousandths of width and height, which is the default. Qwen2.5-VL writes pixels of the image
    that it reads, so the grid is the size to which the pixel policy resizes the image.

    Raises:
        DataError: the images of merged data sets were stored with different budgets, so that size is unknown.
    """
    if not _writes_pixels(model) or not any(sample.kind == "boxes" for sample in dataset.samples):
        return dataset
    stored = dataset.max_image_tokens
    if isinstance(stored, str):
        raise DataError(
            f"the merged data sets were stored with different budgets ({stored}), and the model writes boxes in pixels",
            dataset.source,
            "prepare them again with one --max-image-tokens",
        )
    earlier, policy = PixelPolicy(stored) if stored else None, pixel_policy(model)

    def with_grid(sample: Sample) -> Sample:
        if sample.kind != "boxes":
            return sample
        return replace(sample, box_grid=_read_size(sample.image_size, policy, earlier))

    splits = {name: tuple(map(with_grid, samples)) for name, samples in dataset.splits.items()}
    return replace(dataset, splits=splits)


def box_grid(model: ModelSpec, size: Size) -> Size:
    """Units across and down in which a model writes boxes in an image of this size.

    Args:
        model: the model.
        size: width and height of the image in pixels, before it is resized.
    """
    return _read_size(size, pixel_policy(model)) if _writes_pixels(model) else THOUSANDTHS


def _read_size(size: Size, policy: PixelPolicy, stored: PixelPolicy | None = None) -> Size:
    """The size in which the model reads an image, which may have been resized by another policy before."""
    return target_size(*(target_size(*size, stored) if stored else size), policy)


def _writes_pixels(model: ModelSpec) -> bool:
    family = known_family(model)
    return family is not None and family.boxes_in_pixels
