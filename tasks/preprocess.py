"""The one way from an image file's bytes to the array that a model sees; training, gates and servers share it."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from tasks.errors import DataError

PREPROCESS_VERSION: Literal[1] = 1
"""Raised when the same bytes would give another array; part of every feature row's key."""

DEFAULT_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
DEFAULT_MAX_PIXELS = 40_000_000

LONGEST_ASPECT = 16
"""Of a longer image only the middle is resized, so that a strip of 20,000 x 1 pixels cannot ask for gigabytes."""

UInt8Image = npt.NDArray[np.uint8]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, MemoryError)


class UndecodableImage(DataError):
    """The bytes are no image that may be read; the text is the reason, without the file's name."""


class Preprocess(BaseModel):
    """How an image becomes model input, as the weights demand; written to a release's preprocess.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = PREPROCESS_VERSION
    resize: int = Field(ge=1, description="Shorter side after resizing, pixels.")
    crop: int = Field(ge=1, description="Side of the centre crop, pixels.")
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: Literal[True] = True
    exif_orientation: Literal["applied"] = "applied"
    colour: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float] = Field(description="Per channel, of values in [0, 1]; applied inside the graph.")
    std: tuple[float, float, float] = Field(description="Per channel, of values in [0, 1]; applied inside the graph.")

    def prepare(self, data: bytes) -> UInt8Image:
        """File bytes to a (crop, crop, 3) uint8 RGB array.

        Raises:
            UndecodableImage: the bytes are no readable image of an allowed format and size.
        Source: resize and crop agree with torchvision's ImageClassification preset on PIL images.
        """
        return self.fit(decode_rgb(data))

    def fit(self, image: Image.Image) -> UInt8Image:
        """An upright RGB image to a (crop, crop, 3) uint8 array: shorter side to `resize`, then the centre."""
        image = _without_far_ends(image)
        width, height = image.size
        short, long = min(width, height), max(width, height)
        longer = max(1, int(self.resize * long / short))
        size = (self.resize, longer) if width <= height else (longer, self.resize)
        if image.size != size:
            image = image.resize(size, _FILTERS[self.interpolation])
        return np.asarray(_centre(image, self.crop), dtype=np.uint8)


def read_header(
    data: bytes, formats: tuple[str, ...] = DEFAULT_FORMATS, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Image.Image:
    """Open an image without decoding its pixels.

    Args:
        data: the whole file.
        formats: allowed formats, as Pillow names them.
        max_pixels: most pixels (width x height), judged from the header.
    Raises:
        UndecodableImage: no image, a format that is not allowed, or too many pixels.
    """
    if not data:
        raise UndecodableImage("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=list(formats))
    except UnidentifiedImageError as err:
        raise UndecodableImage(f"not an image of an allowed format ({', '.join(formats)})") from err
    except Image.DecompressionBombError as err:
        raise UndecodableImage(f"more pixels than the {max_pixels} allowed") from err
    except _BROKEN as err:
        raise UndecodableImage(f"broken header: {_one_line(err)}") from err
    width, height = image.size
    if width < 1 or height < 1:
        raise UndecodableImage(f"no pixels ({width}x{height})")
    if width * height > max_pixels:
        raise UndecodableImage(f"{width}x{height} is {width * height} pixels, more than the {max_pixels} allowed")
    return image


def decode_rgb(
    data: bytes, formats: tuple[str, ...] = DEFAULT_FORMATS, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Image.Image:
    """File bytes to an upright RGB image; the first frame of an animation, transparency over white.

    Raises:
        UndecodableImage: as `read_header`, or the pixels are truncated or corrupt.
    """
    image = read_header(data, formats, max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            return to_rgb(upright(image))
    except _BROKEN as err:
        raise UndecodableImage(f"broken {image.format} data: {_one_line(err)}") from err


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; unreadable EXIF data count as none."""
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN:
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB: 16-bit greys scaled to 8 bits, transparency composited over white.

    White, because pictures with a transparent ground are mostly drawn for white pages; dropping the alpha channel
    instead would show whatever colour an editor left under it. Part of PREPROCESS_VERSION.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_grey8(image)).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        straight = image.convert("RGBA")
        ground = Image.new("RGBA", straight.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, straight).convert("RGB")
    return image.convert("RGB")


def _grey8(image: Image.Image) -> UInt8Image:
    values: npt.NDArray[Any] = np.nan_to_num(np.asarray(image).astype(np.float64))
    largest = 65535.0 if image.mode != "F" else 255.0
    return np.clip(np.rint(values * (255.0 / largest)), 0, 255).astype(np.uint8)


def _without_far_ends(image: Image.Image) -> Image.Image:
    width, height = image.size
    longest = LONGEST_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return image.crop((left, top, left + min(width, longest), top + min(height, longest)))


def _centre(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    if width < side or height < side:
        left, top = max(0, (side - width) // 2), max(0, (side - height) // 2)
        padded = Image.new("RGB", (max(width, side), max(height, side)))
        padded.paste(image, (left, top))
        image, (width, height) = padded, padded.size
    left, top = round((width - side) / 2.0), round((height - side) / 2.0)
    return image.crop((left, top, left + side, top + side))


def _one_line(err: BaseException) -> str:
    return " ".join(str(err).split())[:120] or type(err).__name__
