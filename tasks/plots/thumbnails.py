"""Small copies of images for the pages: upright RGB, at most 160 pixels, as data URIs within a budget of bytes."""

from __future__ import annotations

import io
import stat
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tasks.decoding import UndecodableImage, pixels_of, read_header
from tasks.decoding_memory import room_to_decode
from tasks.digests import bytes_sha256
from tasks.params import ValidateParams
from tasks.threads import usable_cores

LONGEST_SIDE = 160
MOST_BYTES = 1_500_000
"""Of all data URIs on one page together: what a phone loads without a wait, and a mail still carries."""

_MOST_THREADS = 4
_BYTES_PER_PIXEL = 8
_HEADER_BYTES = 2**24


@dataclass(frozen=True)
class Wanted:
    """An image that a page would like to show: its path below the data root, and the sha256 of its content."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Thumbnail:
    """`uri` is a data URI, or "" with the `reason` why there is no picture; sides in pixels."""

    uri: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


def make_thumbnails(
    root: Path, wanted: Iterable[Wanted], rules: ValidateParams, most_bytes: int = MOST_BYTES
) -> Mapping[str, Thumbnail]:
    """A thumbnail by path for every image wanted; what cannot be shown has a reason, never an error.

    Args:
        root: the folder that paths are relative to.
        wanted: the most important first, each as often as it is shown; where the budget ends, later ones go without.
        rules: formats and the pixel cap of the door, which hold here too.
        most_bytes: the budget.
    """
    times = Counter(wanted)
    with ThreadPoolExecutor(min(_MOST_THREADS, usable_cores()), "thumbnail") as pool:
        made = list(pool.map(lambda item: make_thumbnail(root / item.path, item.sha256, rules), times))
    shown, spent = {}, 0
    for (item, shows), thumbnail in zip(times.items(), made, strict=True):
        spent += shows * len(thumbnail.uri)
        shown[item.path] = thumbnail if spent <= most_bytes else Thumbnail(reason="left out to keep the page small")
    return shown


def make_thumbnail(path: Path, sha256: str, rules: ValidateParams) -> Thumbnail:
    """One small copy, only if the file still has the content that was validated."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > rules.max_pixels * _BYTES_PER_PIXEL + _HEADER_BYTES:
            return Thumbnail(reason="the file is not the one that was validated")
        data = path.read_bytes()
    except (OSError, ValueError) as err:
        return Thumbnail(reason=f"the file cannot be read ({getattr(err, 'strerror', None) or 'no valid name'})")
    if bytes_sha256(data) != sha256:
        return Thumbnail(reason="the file is not the one that was validated")
    try:
        return _encoded(_small(data, rules))
    except UndecodableImage as err:
        return Thumbnail(reason=str(err))
    except Exception as err:  # whatever a hostile file makes a library raise: a missing picture must not cost the page
        return Thumbnail(reason=f"cannot be drawn ({type(err).__name__})")


def _small(data: bytes, rules: ValidateParams) -> Image.Image:
    header = read_header(data, tuple(rules.formats), rules.max_pixels)
    with room_to_decode(header):
        # A JPEG is decoded at a fraction of its size, which is several times faster and enough here.
        header.draft(None, (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))
        small = pixels_of(header)
        small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC)
    return small


def _encoded(small: Image.Image) -> Thumbnail:
    """As JPEG, of the pixels alone: what else the file says (place, owner, profile) stays out of the page."""
    bare = Image.new("RGB", small.size)
    bare.paste(small)
    buffer = io.BytesIO()
    bare.save(buffer, "JPEG", quality=75)
    return Thumbnail(f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}", *small.size)
