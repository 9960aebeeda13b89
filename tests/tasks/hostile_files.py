"""Files that break image readers, made in code: hostile ones, and odd ones that must still be read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from image_files import bomb_png, encoded, noise
from PIL import Image

ORIENTATION_TAG = 0x0112
Maker = Callable[[int], bytes]


def photo(seed: int) -> bytes:
    return encoded(noise(seed, 40, 32), "JPEG", quality=90)


def png_with(chunk: bytes, body: bytes, image: Image.Image) -> bytes:
    """A PNG with one more chunk right after its header."""
    data = encoded(image)
    return (
        data[:33]
        + struct.pack(">I", len(body))
        + chunk
        + body
        + struct.pack(">I", zlib.crc32(chunk + body))
        + data[33:]
    )


def scan_bomb(seed: int, scans: int = 150) -> bytes:
    """A progressive JPEG that repeats its last scan: each costs a pass over all pixels."""
    data = encoded(noise(seed, 40, 32), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


def tiff(tags: dict[int, tuple[int, ...]], pixels: bytes = b"", big: str = "<") -> bytes:
    """A TIFF of one strip, written without any library: tag -> SHORT values (LONG where one exceeds 65,535)."""
    kinds = {tag: "I" if tag in (273, 279) or max(values) > 65535 else "H" for tag, values in tags.items()}
    extra, place = b"", 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = {**tags, 279: (len(pixels),), 273: (0,)}
    kinds |= {279: "I", 273: "I"}
    sizes = {tag: struct.calcsize(f"{len(values)}{kinds[tag]}") for tag, values in entries.items()}
    strip = place + sum(size for size in sizes.values() if size > 4)
    entries[273] = (strip,)
    rows = b""
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"{big}{len(values)}{kinds[tag]}", *values)
        if len(packed) > 4:
            extra, packed = extra + packed, struct.pack(f"{big}I", place + len(extra))
        rows += struct.pack(f"{big}HHI", tag, 3 if kinds[tag] == "H" else 4, len(values)) + packed.ljust(4, b"\0")
    mark = b"II*\0" if big == "<" else b"MM\0*"
    return mark + struct.pack(f"{big}IH", 8, len(entries)) + rows + bytes(4) + extra + pixels


def grey_tiff(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint16]], bits: int = 16, white_is: int = 1) -> bytes:
    """(height, width) values as an uncompressed TIFF; `bits` 16 or 12 (packed), `white_is` 1 is BlackIsZero."""
    height, width = pixels.shape
    body = pixels.astype("<u2").tobytes()
    if bits == 12:
        packed = "".join(f"{value:012b}" for value in pixels.reshape(-1))
        body = int(packed, 2).to_bytes(len(packed) // 8, "big")
    tags = {256: (width,), 257: (height,), 258: (bits,), 259: (1,), 262: (white_is,), 277: (1,), 278: (height,)}
    return tiff(tags, body)


def bomb_gif(width: int = 65_535, height: int = 66_000) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, min(height, 65_535), 0, 0, 0) + b",\0\0\0\0" + bytes(5) + b";"


def bomb_tiff() -> bytes:
    return tiff({256: (300_000,), 257: (300_000,), 258: (8, 8, 8), 259: (1,), 262: (2,), 277: (3,)})


def bomb_bmp() -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 2_000_000, 2_000_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def bomb_webp() -> bytes:
    """A lossless WebP of 16,383 x 16,383 pixels: nothing follows its header."""
    size = 16_382
    body = b"\x2f" + struct.pack("<I", size | size << 14) + bytes(16)
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


FAULTS: dict[str, tuple[str, Maker, str]] = {
    "empty": (".jpg", lambda seed: b"", "^empty file$"),
    "html page": (
        ".jpg",
        lambda seed: b"<!DOCTYPE html><title>%d</title>" % seed,
        "but an HTML page, as failed downloads",
    ),
    "text": (".jpg", lambda seed: b"see the other folder, %d" % seed, "but a text file$"),
    "svg": (
        ".png",
        lambda seed: b'<?xml version="1.0"?><svg id="%d"/>' % seed,
        "but an SVG drawing; export it as PNG$",
    ),
    "lfs pointer": (
        ".jpg",
        lambda seed: b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 9\n" % seed,
        "but a Git LFS pointer .*git lfs pull",
    ),
    "zeros": (".jpg", lambda seed: bytes(100 + seed), "but zero bytes only, as an interrupted copy leaves them$"),
    "noise": (".jpg", lambda seed: b"\xfe" + np.random.default_rng(seed).bytes(300), "but of no known kind$"),
    "pdf": (".png", lambda seed: b"%%PDF-1.7 %d" % seed, "but a PDF document$"),
    "archive": (".png", lambda seed: b"PK\x03\x04%d" % seed, "but a ZIP archive or an office document$"),
    "video": (".jpg", lambda seed: b"\0\0\0\x18ftypisom%d" % seed, "but a video$"),
    "phone photo": (".jpg", lambda seed: b"\0\0\0\x18ftypheic%d" % seed, "but HEIC$"),
    "format not allowed": (".tga", lambda seed: encoded(noise(seed), "TGA"), "^not an image of an allowed format"),
    "cut JPEG": (".jpg", lambda seed: photo(seed)[:-200], "^broken JPEG data: the file is cut short"),
    "cut PNG": (".png", lambda seed: encoded(noise(seed))[:700], "^broken PNG data: the file is cut short"),
    "cut TIFF": (
        ".tif",
        lambda seed: encoded(noise(seed), "TIFF", compression="tiff_lzw")[:-500],
        "header is broken|damaged|cut",
    ),
    "cut WEBP": (".webp", lambda seed: encoded(noise(seed), "WEBP")[:-60], "damaged"),
    "cut GIF": (".gif", lambda seed: encoded(noise(seed), "GIF")[:-100], "^broken GIF data: the file is cut short"),
    "cut BMP": (".bmp", lambda seed: encoded(noise(seed), "BMP")[:-100], "^broken BMP data: the file is cut short"),
    "garbled TIFF": (
        ".tif",
        lambda seed: (data := encoded(noise(seed), "TIFF", compression="tiff_lzw"))[:100] + b"\xff" * 400 + data[500:],
        "^broken TIFF data: damaged",
    ),
    "garbled PNG": (
        ".png",
        lambda seed: (data := encoded(noise(seed)))[:200] + bytes(300) + data[500:],
        "^broken PNG data: damaged",
    ),
    "broken header": (
        ".png",
        lambda seed: b"\x89PNG\r\n\x1a\n%d" % seed,
        "^it begins as PNG, but its header is broken",
    ),
    "no width": (".gif", lambda seed: b"GIF89a" + bytes(30 + seed), "GIF"),
    "bomb PNG": (
        ".png",
        lambda seed: bomb_png(60_000 + seed),
        "^its header claims 36\\d+ pixels, more than the 40000000",
    ),
    "bomb GIF": (".gif", lambda seed: bomb_gif() + bytes(seed), "^its header claims 4294836225 pixels"),
    "bomb TIFF": (".tif", lambda seed: bomb_tiff() + bytes(seed), "^its header claims 90000000000 pixels"),
    "bomb BMP": (".bmp", lambda seed: bomb_bmp() + bytes(seed), "^its header claims 4000000000000 pixels"),
    "bomb WEBP": (".webp", lambda seed: bomb_webp() + bytes(seed), "pixels, more than the 40000000|damaged|cut short"),
    "above the cap": (
        ".png",
        lambda seed: bomb_png(8000 + seed, 8000),
        "is 64\\d+ pixels, more than the 40000000 allowed$",
    ),
    "text bomb": (
        ".png",
        lambda seed: png_with(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3 << 20), 9), noise(seed)),
        "unpacks to far more than an image needs",
    ),
    "scan bomb": (".jpg", scan_bomb, "^a JPEG of 16\\d scans, each a pass over all pixels; 100 are allowed$"),
    "tiny": (".png", lambda seed: encoded(noise(seed, 1, 1)), "^1x1 pixels, a side is below 8"),
    "too long": (".png", lambda seed: encoded(Image.new("L", (20_001 + seed, 8))), "a side is above 20000"),
    "float": (
        ".tif",
        lambda seed: encoded(Image.fromarray(np.full((9, 9), seed / 7, np.float32)), "TIFF"),
        "^mode F is not allowed .*do not say which value is white$",
    ),
}
"""Kind of fault -> suffix, bytes from a seed, and the pattern of the reason that validate's defaults give."""


def turned_jpeg(seed: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    return encoded(noise(seed, 40, 32), "JPEG", exif=exif)


def frames(seed: int, kind: str, count: int = 40, **options: object) -> bytes:
    more = [noise(seed + number) for number in range(1, count)]
    return encoded(noise(seed), kind, save_all=True, append_images=more, **options)


ODD: dict[str, tuple[str, Maker]] = {
    "PNG named .jpg": (".jpg", lambda seed: encoded(noise(seed))),
    "upper-case suffix": (".JPG", photo),
    "turned": (".jpg", turned_jpeg),
    "CMYK": (".jpg", lambda seed: encoded(noise(seed, 40, 32).convert("CMYK"), "JPEG")),
    "grey": (".jpg", lambda seed: encoded(noise(seed).convert("L"), "JPEG")),
    "one bit": (".png", lambda seed: encoded(noise(seed).convert("1"))),
    "palette": (".gif", lambda seed: encoded(noise(seed).quantize(16), "GIF")),
    "palette with a clear entry": (".png", lambda seed: encoded(noise(seed).quantize(16), transparency=3)),
    "alpha": (".png", lambda seed: encoded(noise(seed).convert("RGBA"))),
    "grey with alpha": (".png", lambda seed: encoded(noise(seed).convert("LA"))),
    "16-bit grey": (
        ".png",
        lambda seed: encoded(Image.fromarray(np.asarray(noise(seed).convert("L")).astype(np.uint16) * 257)),
    ),
    "Lab": (".tif", lambda seed: encoded(Image.merge("LAB", noise(seed).split()), "TIFF")),
    "deep GIF": (".gif", lambda seed: frames(seed, "GIF")),
    "deep TIFF": (".tif", lambda seed: frames(seed, "TIFF")),
    "deep APNG": (".png", lambda seed: frames(seed, "PNG")),
    "deep WEBP": (".webp", lambda seed: frames(seed, "WEBP", 5)),
    "stereo pair": (".mpo", lambda seed: frames(seed, "MPO", 2)),
    "malformed EXIF": (".jpg", lambda seed: encoded(noise(seed), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "profile of garbage": (".jpg", lambda seed: encoded(noise(seed), "JPEG", icc_profile=b"garbage" * 9000)),
    "video behind the photo": (".jpg", lambda seed: photo(seed) + b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x08" * 500),
}
"""What looks strange and must be read: suffix and bytes from a seed."""
