"""The one way from an image file's bytes to the array that a model sees; training, gates and servers share it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.decoding import (
    DEFAULT_FORMATS,
    DEFAULT_MAX_PIXELS,
    UInt8Image,
    UndecodableImage,
    decode_rgb,
    pixels_of,
    read_header,
    to_rgb,
    upright,
)
from tasks.decoding_memory import room_to_decode

__all__ = [
    "DEFAULT_FORMATS",
    "DEFAULT_MAX_PIXELS",
    "LONGEST_ASPECT",
    "PREPROCESS_VERSION",
    "Preprocess",
    "UInt8Image",
    "UndecodableImage",
    "decode_rgb",
    "read_header",
    "to_rgb",
    "upright",
]

PREPROCESS_VERSION: Literal[2] = 2
"""Raised when the same bytes would give another array; part of every feature row's key.

2: greys of 12 bits are scaled by 4095 (1: by 65535, nearly black), 16-bit TIFFs that count from white down are turned
round, the transparent value of a 16-bit grey is laid over white (1: kept), and an EXIF orientation counts even where
the rest of the EXIF block cannot be written back.
"""

LONGEST_ASPECT = 16
"""Of a longer image only the middle is resized, so that a strip of 20,000 x 1 pixels cannot ask for gigabytes."""

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Preprocess(BaseModel):
    """How an image becomes model input, as the weights demand; written to a release's preprocess.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = PREPROCESS_VERSION
    resize: int = Field(ge=1, description="Shorter side after resizing, pixels.")
    crop: int = Field(ge=1, description="Side of the centre crop, pixels.")
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: Literal[True] = True
    exif_orientation: Literal["applied"] = "applied"
    colour: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float] = Field(description="Per channel, of values in [0, 1]; applied inside the graph.")
    std: tuple[float, float, float] = Field(description="Per channel, of values in [0, 1]; applied inside the graph.")

    @field_validator("version", mode="before")
    @classmethod
    def _version_1_reads_as_2(cls, version: Any) -> Any:
        """Weights and releases that name 1 were made from 8-bit images, of which both make the same pixels."""
        return PREPROCESS_VERSION if version == 1 else version

    def prepare(
        self, data: bytes, formats: tuple[str, ...] = DEFAULT_FORMATS, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> UInt8Image:
        """File bytes to a (crop, crop, 3) uint8 RGB array; waits while other threads decode too much at once.

        Args:
            data, formats, max_pixels: as `tasks.decoding.read_header` takes them.
        Raises:
            UndecodableImage: the bytes are no readable image of an allowed format and size.
        Source: resize and crop agree with torchvision's ImageClassification preset on PIL images.
        """
        header = read_header(data, formats, max_pixels)
        with room_to_decode(header):
            return self.fit(pixels_of(header))

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
