"""What the data must fulfil before anything is computed from them."""

from __future__ import annotations

from pydantic import Field

from tasks.params.section import PathText, Section, Share


class ValidateParams(Section):
    labels: list[str] | None = Field(None, description="The allowed class names; null allows whatever is there.")
    min_items_per_class: int = Field(5, ge=1, description="Fewest readable items of a class (critical).")
    formats: list[str] = Field(
        ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"], description="Allowed image formats, as Pillow names them."
    )
    modes: list[str] = Field(
        ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L", "I"],
        description="Allowed pixel modes, as Pillow names them.",
    )
    min_side: int = Field(8, ge=1, description="Smallest allowed width or height, pixels.")
    max_side: int = Field(20000, ge=1, description="Largest allowed width or height, pixels.")
    max_pixels: int = Field(40_000_000, ge=1, description="Most pixels of an image, read from its header.")
    max_undecodable_share: Share = Field(0.05, description="Above this share of unreadable items the run stops.")
    max_conflicting_share: Share = Field(0.02, description="Above this share of identical images under two labels.")
    min_brightness: float = Field(10.0, ge=0, le=255, description="Mean grey below this is a warning.")
    max_brightness: float = Field(245.0, ge=0, le=255, description="Mean grey above this is a warning.")
    min_sharpness: float = Field(5.0, ge=0, description="Variance of the Laplacian below this is a warning.")
    suite: PathText | None = Field(None, description="Your own Great Expectations suite (JSON), run beside ours.")
