"""From an image file's bytes to upright RGB pixels; what is no image, too large or broken is refused with a reason.

What the file says of its colours is followed as far as its pixels go: orientation, palettes, inverted inks. An embedded
colour profile (ICC) is not applied: torchvision, and so the training of every backbone here, does not either.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from tasks.errors import DataError
from tasks.file_kinds import image_format, kind_of_file
from tasks.header_parts import MOST_PARTS, header_parts, segments
from tasks.libtiff_messages import silence_libtiff

DEFAULT_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
DEFAULT_MAX_PIXELS = 40_000_000
ORIENTATION_TAG = 0x0112

UInt8Image = npt.NDArray[np.uint8]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BAND_PIXELS = 1 << 20
_MOST_SCANS = 100
_START_OF_SCAN = b"\xff\xda"
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MIN_IS_WHITE = 258, 262, 0
_WHITE_OF_BITS = {(12,): 4095.0}

logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"PIL\.")
silence_libtiff()
"""Pillow logs why it gives a file up, which the reason says with the file's name, and warns of metadata that it skips
(EXIF, APNG, MPO) and of sizes that `read_header` judges itself. Set once: catch_warnings() is not safe among threads
and costs more than a small header."""


ImageFault = Literal["undecodable", "format", "pixels", "frames"]


class UndecodableImage(DataError):
    """The bytes are no image that may be read; the text is the reason, without the file's name.

    Attributes:
        kind: what a server tells its clients apart by: broken, not of an allowed format, too many pixels or frames.
    """

    def __init__(self, reason: str, kind: ImageFault = "undecodable") -> None:
        super().__init__(reason)
        self.kind = kind


def read_header(
    data: bytes, formats: tuple[str, ...] = DEFAULT_FORMATS, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Image.Image:
    """Open an image without decoding its pixels.

    Args:
        data: the whole file.
        formats: allowed formats, as Pillow names them; the file's name plays no part. JPEG includes MPO, which phones
            write for a photo with a gain map or preview.
        max_pixels: most pixels (width x height), judged from the header.
    Raises:
        UndecodableImage: no image, a format that is not allowed, too many pixels, a flood of header parts, or a JPEG of
            more than 100 scans.
    """
    if not data:
        raise UndecodableImage("empty file")
    if header_parts(data) > MOST_PARTS:
        raise UndecodableImage(f"its header has more than {MOST_PARTS} parts; photos have tens")
    try:
        image = Image.open(io.BytesIO(data), formats=list(formats))
    except UnidentifiedImageError as err:
        raise UndecodableImage(*_not_allowed(data, formats)) from err
    except Image.DecompressionBombError as err:
        claimed = re.search(r"(\d+) pixels", str(err))
        pixels = f"{claimed[1]} pixels" if claimed else "more pixels"
        raise UndecodableImage(f"its header claims {pixels}, more than the {max_pixels} allowed", "pixels") from err
    except Exception as err:  # whatever a decoder raises on hostile bytes is the file's fault
        raise UndecodableImage(f"broken header: {_reason(err)}") from err
    width, height = image.size
    if width < 1 or height < 1:
        raise UndecodableImage(f"no pixels ({width}x{height})")
    if width * height > max_pixels:
        raise UndecodableImage(
            f"{width}x{height} is {width * height} pixels, more than the {max_pixels} allowed", "pixels"
        )
    if image.format in ("JPEG", "MPO") and (scans := _scans(data)) > _MOST_SCANS:
        raise UndecodableImage(f"a JPEG of {scans} scans, each a pass over all pixels; {_MOST_SCANS} are allowed")
    return image


def decode_rgb(
    data: bytes, formats: tuple[str, ...] = DEFAULT_FORMATS, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Image.Image:
    """File bytes to an upright RGB image, as `read_header` and `pixels_of` do one after the other."""
    return pixels_of(read_header(data, formats, max_pixels))


def pixels_of(header: Image.Image) -> Image.Image:
    """Decode an opened image to upright RGB; of several frames the first, transparency over white.

    Nothing is guessed for missing pixels: an image that is cut short is broken, even if only its end mark is missing.

    Raises:
        UndecodableImage: the pixels are truncated or corrupt.
    """
    try:
        header.load()
        turn = _turn(header)
        rgb = to_rgb(header)
    except Exception as err:  # as in read_header
        raise UndecodableImage(f"broken {header.format} data: {_reason(err)}") from err
    return rgb if turn is None else rgb.transpose(turn)


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation (XMP's where there is no EXIF) to a loaded image; unreadable EXIF data count as none.

    Unlike Pillow's exif_transpose it copies no image that stands upright and writes no EXIF block back.
    """
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(int(image.getexif().get(ORIENTATION_TAG, 1)))
    except Exception:  # the block is free text of a camera, and the pixels are sound without it
        return None


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB; an RGB image is returned as it is. Part of PREPROCESS_VERSION.

    - Transparency (alpha, a transparent palette entry or value) is laid over white: pictures with a transparent ground
      are mostly drawn for white pages, and dropping alpha would show whatever colour an editor left under it.
    - 16-bit greys are scaled by 65535 and 12-bit ones by 4095, never stretched to their own extremes: two photos of one
      camera stay comparable. TIFFs that count from white down are turned round. Of 16-bit colours Pillow takes the
      upper byte.
    - 32-bit integers are scaled by 65535 and floats taken as 0 to 255; neither says what white is, so params do not
      allow them unless asked (validate.modes).
    - CMYK (Pillow undoes Adobe's inversion) and CIE Lab become RGB by their plain formulas.

    Done in bands of rows, so that no more than the image and its RGB pixels are held.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    if rows >= height:
        return _band_to_rgb(image, *_grey_range(image))
    rgb, ends = Image.new("RGB", image.size), _grey_range(image)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(height, top + rows)))
        rgb.paste(_band_to_rgb(band, *ends), (0, top))
    return rgb


def _band_to_rgb(image: Image.Image, black: float, white: float) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_grey8(image, black, white)).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        straight = image.convert("RGBA")
        ground = Image.new("RGBA", straight.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, straight).convert("RGB")
    return image.convert("RGB")


def _grey_range(image: Image.Image) -> tuple[float, float]:
    """The values that are black and white: of a float 0 and 255, else all of the bits that the file declares."""
    tags = getattr(image, "tag_v2", {})
    white = 255.0 if image.mode == "F" else _WHITE_OF_BITS.get(tuple(tags.get(_BITS_PER_SAMPLE, ())), 65535.0)
    return (white, 0.0) if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE else (0.0, white)


def _grey8(image: Image.Image, black: float, white: float) -> UInt8Image:
    values: npt.NDArray[Any] = np.asarray(image)
    scaled = (np.nan_to_num(values.astype(np.float64)) - black) * (255.0 / (white - black))
    grey: UInt8Image = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return grey


def _scans(data: bytes) -> int:
    """Scans of a JPEG up to its end mark; counted only where there may be too many.

    A progressive JPEG may repeat scans at will, each a pass over all pixels: a file of 1 MB could take ten minutes.
    What follows the end mark (a phone's video) or lies inside a segment (a preview) may hold the same two bytes.
    """
    if data.count(_START_OF_SCAN) <= _MOST_SCANS:
        return 0
    return sum(marker == _START_OF_SCAN[1] for _, marker in segments(data))


def _not_allowed(data: bytes, formats: tuple[str, ...]) -> tuple[str, ImageFault]:
    allowed = f"not an image of an allowed format ({', '.join(formats)})"
    named = image_format(data)
    if named in formats:
        return f"it begins as {named}, but its header is broken or of a kind that cannot be read", "undecodable"
    return f"{allowed} but {named or kind_of_file(data)}", "format"


def _reason(err: BaseException) -> str:
    """What a decoder's words mean, and the words themselves (at most 120 characters)."""
    words = " ".join(str(err).split())[:120] or type(err).__name__
    lower = words.lower()
    if isinstance(err, MemoryError):
        return "it asks for more memory than there is"
    if "too large" in lower:
        return f"its text or profile unpacks to far more than an image needs ({words})"
    if "truncated" in lower or isinstance(err, EOFError):
        return f"the file is cut short ({words})"
    return f"damaged ({words})"
