"""Golden inputs: small encoded files of ours that every release must answer exactly as at its export.

The files were rendered once by `python -m tasks.golden FOLDER` and are kept as they are, so that an upgrade of an
encoder changes no release. They hold no photo and nothing of a user.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent / "golden_images"
ROTATED = 6
ORIENTATION_TAG = 0x0112


def golden_files() -> list[Path]:
    """The encoded files, sorted by name."""
    return sorted(file for file in FOLDER.iterdir() if file.suffix in (".jpg", ".png"))


def render(folder: Path) -> None:
    """Write every golden file: rotated by EXIF, CMYK, grey, 16-bit, palette with alpha, alpha, odd and tiny sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = ROTATED
    _scene(96, 64).save(folder / "exif_rotated.jpg", quality=90, exif=exif)
    _scene(97, 61).save(folder / "odd_size.jpg", quality=90)
    _scene(80, 80).convert("CMYK").save(folder / "cmyk.jpg", quality=90)
    _scene(64, 48).convert("L").save(folder / "grey.jpg", quality=90)
    _scene(7, 5).save(folder / "tiny.png")
    _scene(300, 40).save(folder / "wide.png")
    deep = np.asarray(_scene(64, 64).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "grey_16bit.png")
    palette = _scene(72, 72).quantize(32)
    palette.save(folder / "palette_alpha.png", transparency=3)
    clear = _scene(64, 80).convert("RGBA")
    clear.putalpha(Image.fromarray(_ramp(64, 80)))
    clear.save(folder / "alpha.png")


def _scene(width: int, height: int) -> Image.Image:
    """Shapes and gradients, different in every corner, so that a flip or a turn shows."""
    rows, columns = np.mgrid[0:height, 0:width]
    x, y = columns / max(1, width - 1), rows / max(1, height - 1)
    red = 255 * x
    green = 255 * y
    blue = np.where((x - 0.3) ** 2 + (y - 0.35) ** 2 < 0.05, 255, 60 * (x > 0.6))
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def _ramp(width: int, height: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


if __name__ == "__main__":
    render(Path(sys.argv[1]))
