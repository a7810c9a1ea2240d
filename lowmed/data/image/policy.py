"""The pixel policy: the most tokens of an image, and the only function that prepares images for the model.

Training, generation, evaluation and the planner all use `prepare` and `image_tokens`, so that a model is always
evaluated at the resolution that it was trained at. Follows Qwen2-VL's `smart_resize`: patches of 14 pixels, merged two
by two, so that one token is 28 x 28 pixels. Budgets count these tokens for every family, so that models with equal
budgets see equal pixels: 256 of them are 196 tokens of 32 x 32 pixels in Qwen3-VL.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from lowmed.architectures import read_architecture
from lowmed.errors import DataError, LowmedError, RecipeError, SetupError
from lowmed.models import Architecture, family_of
from lowmed.recipe import ModelSpec

TOKEN_SIDE_PX = 28
ORIENTATION = 274  # EXIF tag
MIN_SIDE_PX = 8  # a narrower image shows no finding, and enlarging it would invent one
MAX_ASPECT = 200  # Qwen2-VL's own limit
_ADDRESS = re.compile(r" <_io\.\S+ object at 0x[0-9a-f]+>")  # differs from run to run
MAX_PIXELS = 89_478_485  # a bigger image is more likely a decompression bomb; Pillow begins to warn here
GROUNDS = (255, 0, 128)  # for transparent images: white, black, grey
NEAR_GROUND = 32  # grey levels; a pixel that is as near to the ground is hardly visible on it


@dataclass(frozen=True, slots=True)
class PixelPolicy:
    """The most pixels of an image, in tokens of 28 x 28; the fewest are derived from it.

    Some models resize every image to one square. Their images keep their size here, up to twice that square in both
    directions, and the maximum of the recipe does not apply.

    Attributes:
        max_image_tokens: the most pixels of an image, in tokens of 28 x 28.
        token_side: side in pixels of the square that one token of the model covers.
        fixed_side: side in pixels that the model's processor resizes every image to; 0 if it does not.
        fixed_tokens: tokens of such an image.

    Raises:
        RecipeError: the maximum is under 4.
    """

    max_image_tokens: int
    token_side: int = TOKEN_SIDE_PX
    fixed_side: int = 0
    fixed_tokens: int = 0

    def __post_init__(self) -> None:
        if self.max_image_tokens < 4:
            raise RecipeError(
                f"max_image_tokens is {self.max_image_tokens}", "model.max_image_tokens", "set it to 4 or more"
            )

    @property
    def min_image_tokens(self) -> int:
        """Qwen2-VL's own minimum of 4, or less under a budget below 10.

        If the two were closer, rounding to whole tokens could leave the range, and the processor would resize a
        prepared image again.
        """
        return min(4, self.max_image_tokens // 2 - 1)

    @property
    def min_pixels(self) -> int:
        """The processor's `min_pixels` (`size.shortest_edge`), in pixels of area."""
        return self.min_image_tokens * TOKEN_SIDE_PX**2

    @property
    def max_pixels(self) -> int:
        """The processor's `max_pixels` (`size.longest_edge`), in pixels of area."""
        if self.fixed_side:
            return (2 * self.fixed_side) ** 2
        return self.max_image_tokens * TOKEN_SIDE_PX**2

    @property
    def most_tokens(self) -> int:
        """The most tokens of an image in the model."""
        return self.fixed_tokens or self.max_pixels // self.token_side**2


def pixel_policy(model: ModelSpec) -> PixelPolicy:
    """The pixel policy of a recipe's model, with tokens of 28 x 28 pixels where its family is unknown."""
    try:
        return policy_of(model, read_architecture(model))
    except SetupError:
        return PixelPolicy(model.max_image_tokens)


def policy_of(model: ModelSpec, sizes: Architecture) -> PixelPolicy:
    """The pixel policy of a recipe's model with these dimensions."""
    return PixelPolicy(model.max_image_tokens, family_of(sizes.family).token_side, sizes.image_side, sizes.image_tokens)


def target_size(width: int, height: int, policy: PixelPolicy) -> tuple[int, int]:
    """The width and height in pixels that Qwen2-VL's `smart_resize` gives an image: whole tokens, shape kept.

    Where the model has one size for all images, only images that are much larger are reduced.
    A strip narrower than a token stays one token thick, so that it may have more tokens than the maximum.

    Raises:
        DataError: there are no pixels, or one side is more than 200 times the other.
    """
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        raise DataError(
            f"an image of {width} x {height} pixels is too narrow: at most 1:{MAX_ASPECT}",
            "the image's shape",
            "crop it to the relevant part, or leave it out",
        )
    if policy.fixed_side:
        shrink = max(1.0, math.sqrt(height * width / policy.max_pixels))
        return max(1, int(width / shrink)), max(1, int(height / shrink))
    token = policy.token_side
    wide, high = (round(side / token) * token for side in (width, height))
    if wide * high > policy.max_pixels:
        shrink = math.sqrt(height * width / policy.max_pixels)
        wide, high = (max(token, math.floor(side / shrink / token) * token) for side in (width, height))
    elif wide * high < policy.min_pixels:
        grow = math.sqrt(policy.min_pixels / (height * width))
        wide, high = (math.ceil(side * grow / token) * token for side in (width, height))
    return wide, high


def image_tokens(width: int, height: int, policy: PixelPolicy) -> int:
    """The tokens of an image of this size in pixels.

    Raises:
        DataError: as `target_size`.
    """
    wide, high = target_size(width, height, policy)
    return policy.fixed_tokens or wide * high // policy.token_side**2


def prepare(image: Image.Image, policy: PixelPolicy, where: str = "an image") -> Image.Image:
    """The image as the model receives it: upright, RGB, of a size that Qwen2-VL's processor does not change.

    Images with more than 8 bits are rescaled from their darkest to their brightest value and never clipped.
    Transparency is composited on the ground that hides the least: white, or else black, or else grey.

    Args:
        image: the image.
        policy: the pixel policy.
        where: names the image in errors.

    Raises:
        DataError: the image cannot be decoded, or is too small, too large or too narrow.
    """
    with errors_naming(where):
        return fit(image, policy, where).convert("RGB")


def fit(image: Image.Image, policy: PixelPolicy, where: str = "an image") -> Image.Image:
    """As `prepare`, but with one channel if the three channels would be equal.

    Raises:
        DataError: as `prepare`.
    """
    with errors_naming(where):
        check_shape(*image.size)
        colour = one_channel(apply_orientation(image))
        size = target_size(*colour.size, policy)
        tokens = image_tokens(*colour.size, policy)
        if tokens > policy.most_tokens:
            raise DataError(
                f"a strip of {colour.width} x {colour.height} pixels has {tokens} tokens, "
                f"more than the {policy.most_tokens} allowed",
                where,
                f"crop it, or set model.max_image_tokens to {_enough(*colour.size, policy)}",
            )
        # The resampling of Qwen2-VL's processor. It treats channels separately, so one channel gives the same result.
        return colour if colour.size == size else colour.resize(size, Image.Resampling.BICUBIC)


def one_channel(image: Image.Image) -> Image.Image:
    """The image in 8 bits: one channel if it is grey or its three channels are equal, else RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _eight_bit(image)
    if image.mode in ("L", "1") and not image.has_transparency_data:
        return image if image.mode == "L" else image.convert("L")
    colour = _rgb(image)
    if any(not _is_grey_line(colour, line) for line in range(0, colour.height, max(1, colour.height // 8))):
        return colour
    first, *others = colour.split()
    return first if all(other.tobytes() == first.tobytes() for other in others) else colour


def apply_orientation(image: Image.Image) -> Image.Image:
    """The image rotated as its EXIF orientation requires; the same object if no rotation is needed."""
    return image if image.getexif().get(ORIENTATION, 1) == 1 else ImageOps.exif_transpose(image)


def check_shape(width: int, height: int) -> None:
    """Refuse sizes that show no finding, or that need too much memory.

    Raises:
        DataError: a side is under 8 pixels, the area over 89 megapixels, or the shape beyond 1:200.
    """
    if min(width, height) < MIN_SIDE_PX or max(width, height) > MAX_ASPECT * min(width, height):
        raise DataError(
            f"{width} x {height} pixels is too small or too narrow to show a finding",
            "the image's shape",
            f"both sides need {MIN_SIDE_PX} pixels or more, and a shape within 1:{MAX_ASPECT}; crop it or leave it out",
        )
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{width} x {height} pixels exceeds the limit of {MAX_PIXELS / 1e6:.0f} megapixels",
            "the image's shape",
            "crop it to the region of interest, or resize it first",
        )


@contextmanager
def errors_naming(where: str) -> Iterator[None]:
    """Convert every exception of a decoder to a DataError that names the image.

    Decoders raise nearly every built-in exception on damaged files, so all of them are converted.
    """
    try:
        yield
    except MemoryError:
        raise
    except LowmedError as error:
        raise type(error)(error.what, where, error.fix) from error
    except Exception as error:  # Pillow's decoders raise nearly any exception on a damaged file
        reason = _ADDRESS.sub("", str(error))
        raise DataError(
            f"the image cannot be decoded ({type(error).__name__}: {reason})",
            where,
            "copy it again from its source, save it as PNG or JPEG, or leave its rows out",
        ) from error


def _enough(width: int, height: int, policy: PixelPolicy) -> int:
    """The smallest budget, in tokens, that this strip fits into; a larger budget also enlarges the strip."""
    budget = policy.max_image_tokens
    while image_tokens(width, height, larger := PixelPolicy(budget, policy.token_side)) > larger.most_tokens:
        budget += 1
    return budget


def _is_grey_line(image: Image.Image, line: int) -> bool:
    """Whether one line of an RGB image is grey, which rules out most colour images quickly."""
    values = image.crop((0, line, image.width, line + 1)).tobytes()
    return values[0::3] == values[1::3] == values[2::3]


def _rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        return _on_ground(image if image.mode == "RGBA" else image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_ground(image: Image.Image) -> Image.Image:
    """An RGBA image on the ground from which the fewest visible pixels hardly differ; white if equal."""
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return image.convert("RGB")
    brightness = np.asarray(image.convert("RGB").convert("L")).ravel()
    visible = np.bincount(brightness, np.asarray(alpha).ravel(), 256)
    lost = [visible[max(0, ground - NEAR_GROUND) : ground + NEAR_GROUND + 1].sum() for ground in GROUNDS]
    ground = GROUNDS[lost.index(min(lost))]
    return Image.alpha_composite(Image.new("RGBA", image.size, (ground, ground, ground, 255)), image).convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """One channel in 8 bits, from the darkest to the brightest value, and alpha if one value is transparent."""
    values = np.asarray(image, dtype=np.float64)
    transparent = image.info.get("transparency")
    visible = values != transparent if isinstance(transparent, int) else np.ones(values.shape, dtype=bool)
    shown = values[visible] if isinstance(transparent, int) and visible.any() else values
    low, span = shown.min(), shown.max() - shown.min()
    if not np.isfinite(span):
        raise ValueError("some pixels are not finite numbers")
    scaled = np.clip((values - low) * (255 / span), 0, 255) if span > 0 else np.zeros_like(values)
    eight = Image.fromarray(scaled.round().astype(np.uint8))
    if not visible.all():
        eight.putalpha(Image.fromarray(visible))
    return eight
