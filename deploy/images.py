"""From what a client sent to the pixels that a model takes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tasks.decoding import UInt8Image, UndecodableImage, read_header
from tasks.params.serve import ServeLimits
from tasks.preprocess import Preprocess

Image = bytes | UInt8Image
"""An encoded file, or a prepared (crop, crop, 3) uint8 array."""


class TooManyPixels(UndecodableImage):
    """The images of one request are more than limits.request_mpixels together; each alone may be sound."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "pixels")


def check_pixels_together(images: Iterable[Image], limits: ServeLimits) -> None:
    """Judge several images of one request by their headers, before any of them is decoded.

    A body of some kilobytes may hold many images that are each within limits.max_pixels and take a minute together.

    Raises:
        TooManyPixels: there are more than limits.request_mpixels.
        UndecodableImage: of an image whose header is refused already; the text names its place, counted from 0.
    """
    total, most = 0, round(limits.request_mpixels * 1e6)
    for place, image in enumerate(images):
        if not isinstance(image, bytes):
            continue
        try:
            width, height = read_header(image, limits.formats, limits.max_pixels).size
        except UndecodableImage as err:
            raise UndecodableImage(f"image {place}: {err}", err.kind) from None
        total += width * height
        if total > most:
            raise TooManyPixels(
                f"the first {place + 1} images of this request are {total / 1e6:.1f} megapixels together, more than "
                f"the {limits.request_mpixels:g} allowed; send them in several requests, or smaller"
            )


def prepared(image: Image, preprocess: Preprocess, limits: ServeLimits) -> UInt8Image:
    """The (crop, crop, 3) uint8 array of one image.

    Raises:
        UndecodableImage: the bytes are no image that may be read, or the array is not of this model's size.
    """
    if isinstance(image, np.ndarray):
        return _of_size(image, preprocess.crop)
    if limits.frames == "single":
        _refuse_several_frames(image, limits)
    return preprocess.prepare(image, limits.formats, limits.max_pixels)


def _of_size(image: UInt8Image, crop: int) -> UInt8Image:
    if image.shape != (crop, crop, 3) or image.dtype != np.uint8:
        raise UndecodableImage(
            f"prepared pixels of {image.dtype} {image.shape}, the model takes uint8 {(crop, crop, 3)}"
        )
    return image


def _refuse_several_frames(data: bytes, limits: ServeLimits) -> None:
    """Judged by one seek at most, so that an animation of a million frames costs no more than one of two.

    A phone's photo with a preview or a gain map (MPO) is one photo, as everywhere here.
    """
    header = read_header(data, limits.formats, limits.max_pixels)
    try:
        several = header.format != "MPO" and bool(getattr(header, "is_animated", False))
    except Exception as err:  # whatever a decoder raises on hostile bytes is the file's fault
        raise UndecodableImage("its second frame is broken") from err
    if several:
        raise UndecodableImage("it has several frames (an animation, or pages); one is allowed", "frames")
