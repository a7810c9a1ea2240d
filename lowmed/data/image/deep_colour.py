"""Colour images with 16 bits a channel, of which Pillow's own modes keep only the high bytes.

Pillow decodes such a file twice: once as usual, once with the byte order exchanged, which gives the low bytes.
"""

import re
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile

_DEEP = re.compile(r"(RGB|RGBA|RGBX|LA|RGBa);16([BLN])")
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_PLANAR_CONFIGURATION, _SEPARATE = 284, 2  # TIFF tag and value
Values = npt.NDArray[np.uint16]


def is_deep(image: ImageFile) -> bool:
    """Whether an image that is not loaded yet has 16 bits a channel, and colour or transparency.

    Raises:
        ValueError: it has, in a layout that cannot be read in full.
    """
    if image.format == "PPM":
        return _is_deep_ppm(image)
    names = {_raw_mode(tile) for tile in image.tile}
    if image.format == "TIFF" and image.mode in ("RGB", "RGBA"):
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        if tags.get(_PLANAR_CONFIGURATION) == _SEPARATE and max(tags.get(258, (8,))) > 8:
            raise ValueError("its channels of 16 bits are stored one after another: save it as PNG")
    return bool(names) and all(_DEEP.fullmatch(name) for name in names)


def read(image: ImageFile, source: Path | IO[bytes], formats: tuple[str, ...]) -> Image.Image:
    """The image in 8 bits: all channels scaled from the darkest to the brightest value of the visible pixels.

    Args:
        image: an image for which `is_deep` holds, at the frame to read.
        source: the file that it was opened from.
        formats: the formats of Pillow to open it with.
    """
    number = image.tell()
    transparent = image.info.get("transparency")
    name = _raw_mode(image.tile[0]) if image.format != "PPM" else "RGB;16B"
    if name.startswith("LA"):
        image.tile = [_with_mode(tile, "RGBA") for tile in image.tile]  # the four bytes of a pixel as they are
        pairs = np.asarray(image).view(">u2").astype(np.uint16)
        return scaled(pairs[..., :1].repeat(3, axis=-1), pairs[..., 1])
    plain = name.replace("RGBa", "RGBA")  # for `RGBa` Pillow would divide the bytes by the opacity
    tiles = list(image.tile)
    image.tile = [_with_mode(tile, plain) for tile in tiles]
    high = np.asarray(image).astype(np.uint16)
    with Image.open(source, formats=formats) as again:
        again.seek(number)
        again.tile = [_with_mode(tile, plain[:-1] + _SWAPPED[plain[-1]]) for tile in tiles]
        values: Values = high << 8 | np.asarray(again)
    if values.shape[-1] == 4:
        colour, alpha = values[..., :3], values[..., 3]
        return scaled(_divided(colour, alpha) if name.startswith("RGBa") else colour, alpha)
    if transparent is not None:
        visible = (values != np.array(transparent, np.uint16)).any(axis=-1)
        return scaled(values, visible.astype(np.uint16) * 65535)
    return scaled(values, None)


def scaled(colour: Values, alpha: Values | None) -> Image.Image:
    """Values of 16 bits in 8 bits, from the darkest to the brightest of all channels, so that hues stay.

    Args:
        colour: height x width x 3.
        alpha: height x width, where 0 is invisible; None if all pixels are opaque.
    """
    visible = colour if alpha is None else colour[alpha > 0]
    low, high = (int(visible.min()), int(visible.max())) if visible.size else (0, 0)
    ramp = (np.clip(np.arange(65536.0), low, high) - low) * (255 / max(high - low, 1))
    eight = ramp.round().astype(np.uint8)[colour]
    if alpha is None:
        return Image.fromarray(eight)
    opacity = (alpha.astype(np.uint32) * 255 + 32767) // 65535
    return Image.fromarray(np.dstack([eight, opacity.astype(np.uint8)]))


def _is_deep_ppm(image: ImageFile) -> bool:
    if image.mode != "RGB" or not image.tile:
        return False
    args = image.tile[0].args
    return image.tile[0].codec_name == "ppm" and isinstance(args, tuple) and int(args[1]) > 255


def _divided(colour: Values, alpha: Values) -> Values:
    """Colours that were stored multiplied by their opacity, before that."""
    opacity = np.maximum(alpha, 1)[..., None].astype(np.float64) / 65535
    return np.clip(colour / opacity, 0, 65535).round().astype(np.uint16)


def _raw_mode(tile: Any) -> str:
    args = tile.args
    return str(args if isinstance(args, str) else args[0] if args else "")


def _with_mode(tile: Any, name: str) -> Any:
    """The part of a file, to be decoded in another raw mode of Pillow."""
    if tile.codec_name == "ppm":  # this decoder divides by the largest possible value
        return tile._replace(codec_name="raw", args=name)
    return tile._replace(args=name if isinstance(tile.args, str) else (name, *tile.args[1:]))
