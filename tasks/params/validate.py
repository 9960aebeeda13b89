"""What the data must fulfil before anything is computed from them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.params.section import PathText, Section, Share

ImageFormat = Literal[
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI", "TGA", "TIFF", "WEBP"
]
_EightBit = Literal["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
PixelMode = Literal[_EightBit, "I", "I;16", "I;16L", "I;16B", "I;16N", "F"]


class ValidateParams(Section):
    labels: list[str] | None = Field(
        None, min_length=2, description="The allowed class names, each of which must be there; null allows any."
    )
    min_items_per_class: int = Field(5, ge=1, description="Fewest readable items of a class (critical).")
    formats: list[ImageFormat] = Field(
        ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"],
        min_length=1,
        description="Allowed image formats, as Pillow names them.",
    )
    modes: list[PixelMode] = Field(
        ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I;16L"],
        min_length=1,
        description="Allowed pixel modes, as Pillow names them.",
    )
    frames: Literal["first", "single"] = Field(
        "first",
        description="Of animations and files of several pages: first uses the first frame, single quarantines them.",
    )
    min_side: int = Field(8, ge=1, description="Smallest allowed width or height, pixels.")
    max_side: int = Field(20000, ge=1, description="Largest allowed width or height, pixels.")
    max_pixels: int = Field(
        40_000_000,
        ge=1,
        le=178_956_970,
        description="Most pixels of an image, read from its header.",
    )
    max_undecodable_share: Share = Field(0.05, description="Above this share of unreadable items the run stops.")
    max_conflicting_share: Share = Field(0.02, description="Above this share of identical images under two labels.")
    min_brightness: float = Field(10.0, ge=0, le=255, description="Mean grey below this is a warning.")
    max_brightness: float = Field(245.0, ge=0, le=255, description="Mean grey above this is a warning.")
    min_sharpness: float = Field(5.0, ge=0, description="Variance of the Laplacian below this is a warning.")
    suite: PathText | None = Field(None, description="Your own Great Expectations suite (JSON), run beside ours.")

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> Self:
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is above max_side {self.max_side}")
        if self.min_brightness > self.max_brightness:
            raise ValueError(f"min_brightness {self.min_brightness:g} is above max_brightness {self.max_brightness:g}")
        return self
