"""What a file is by its first bytes, in words for people whose file turned out to be no readable image."""

from __future__ import annotations

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"8BPS", "PSD"),
    (b"qoif", "QOI"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
)
"""First bytes, and the format as Pillow names it."""

_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer (the photo itself was not fetched: git lfs pull)"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "HEIC")}
_LOOKED_AT = 1024


def image_format(data: bytes) -> str | None:
    """The image format that the first bytes announce, as Pillow names it where it knows it; None for no image.

    >>> image_format(b"GIF89a..."), image_format(b"<html>")
    ('GIF', None)
    """
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for start, name in _IMAGES if data.startswith(start)), None)


def kind_of_file(data: bytes) -> str:
    """What a file is that is no image at all, with its article and, where there is one, how it usually came about.

    >>> kind_of_file(b"<!DOCTYPE html><title>404</title>")
    'an HTML page, as failed downloads leave it'
    """
    if data[4:8] == b"ftyp" or (data[:4] == b"RIFF" and data[8:12] == b"AVI "):
        return "a video"
    for start, name in _OTHERS:
        if data.startswith(start):
            return name
    if not any(data[:_LOOKED_AT]):
        return "zero bytes only, as an interrupted copy leaves them"
    return _kind_of_text(data[:_LOOKED_AT]) or "of no known kind"


def _kind_of_text(start: bytes) -> str | None:
    try:
        text = start.decode("utf-8", "strict" if len(start) < _LOOKED_AT else "ignore").lower()
    except UnicodeDecodeError:
        return None
    if any(not (letter.isprintable() or letter.isspace()) for letter in text):
        return None
    if "<!doctype html" in text or "<html" in text:
        return "an HTML page, as failed downloads leave it"
    return "an SVG drawing; export it as PNG" if "<svg" in text else "a text file"
