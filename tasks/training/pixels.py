"""Images as a network in training reads them: decoded once, kept at their serving size, varied anew in each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from tasks.backbones.session import VALIDATED_FORMATS, VALIDATED_MAX_PIXELS
from tasks.decoding import pixels_of, read_header
from tasks.decoding_memory import room_to_decode, room_to_read
from tasks.digests import bytes_sha256
from tasks.errors import DataError
from tasks.params.training import TrainingParams
from tasks.preprocess import Preprocess, UInt8Image, UndecodableImage
from tasks.threads import worker_threads
from tasks.training.augmentation import generator_of, varied
from tasks.training.examples import Inputs, IntVector
from tasks.training.image_store import ImageStore

LONGEST_KEPT = 2
"""Of an image that is longer than this many times its shorter side, only the centre that serving sees is kept."""


class PixelExamples:
    """Image files as normalised pixels.

    An image is decoded when it is first asked for. What is kept of it has its shorter side at `Preprocess.resize`, the
    size at which serving sees it: the centre of it is what serving sees, bit for bit, and a random crop of it is
    enlarged by `sqrt(1 / smallest)` at most, which is 1.13 for `light` and 1.5 for `standard` at 224 of 256 pixels.
    """

    def __init__(
        self,
        files: Sequence[Path],
        contents: Sequence[str],
        preprocess: Preprocess,
        settings: TrainingParams,
        threads: int = 0,
        store: ImageStore | None = None,
    ) -> None:
        """
        Args:
            contents: sha256 that each file had when it was validated.
            threads: of decoding and varying; 0 takes every core. No result depends on it.
            store: where decoded images are kept; without one they are decoded each time.
        """
        self.files, self.contents, self.preprocess, self.settings = list(files), list(contents), preprocess, settings
        self._store, self._pool = store, ThreadPoolExecutor(worker_threads(threads))
        mean = torch.tensor(preprocess.mean, dtype=torch.float64).view(1, 3, 1, 1)
        std = torch.tensor(preprocess.std, dtype=torch.float64).view(1, 3, 1, 1)
        self._scale, self._shift = (1.0 / (255.0 * std)).float(), (-mean / std).float()

    def __len__(self) -> int:
        return len(self.files)

    def inputs(self, rows: IntVector, epoch: int) -> Inputs:
        """(rows, 3, crop, crop) float32 of this epoch's variants.

        Raises:
            DataError: a file is gone, changed or no longer decodes; it is named.
        """
        return (self.normalised(np.stack(list(self._pool.map(lambda row: self.variant(row, epoch), rows)))),)

    def plain(self, rows: IntVector) -> Inputs:
        """(rows, 3, crop, crop) float32 of the pixels that `Preprocess.prepare` gives. Raises as `inputs`."""
        return (self.normalised(np.stack(list(self._pool.map(self.served, rows)))),)

    def variant(self, row: int, epoch: int) -> UInt8Image:
        """(crop, crop, 3) uint8: the item as training sees it in that epoch; the same in every run."""
        settings, draw = self.settings, generator_of(self.settings.seed, epoch, self.contents[row])
        image = self._image(row)
        return varied(image, self.preprocess, settings.augmentation, settings.horizontal_flip, draw)

    def served(self, row: int) -> UInt8Image:
        """(crop, crop, 3) uint8: the item as it is served."""
        return centre(self._image(row), self.preprocess)

    def normalised(self, images: npt.NDArray[np.uint8]) -> torch.Tensor:
        """(n, crop, crop, 3) uint8 to (n, 3, crop, crop) float32, by the arithmetic of the exported graph."""
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32)
        return (pixels * self._scale + self._shift).contiguous()

    def _image(self, row: int) -> UInt8Image:
        content = self.contents[row]
        kept = self._store.get(content) if self._store else None
        if kept is None:
            kept = _decoded(self.files[row], content, self.preprocess)
            if self._store:
                self._store.put(content, kept)
        return kept


def centre(image: UInt8Image, preprocess: Preprocess) -> UInt8Image:
    """The pixels that serving sees, of an image that is kept."""
    side = preprocess.crop
    return image if image.shape[:2] == (side, side) else preprocess.fit(Image.fromarray(image))


def resized(image: Image.Image, preprocess: Preprocess) -> UInt8Image:
    """What is kept of an upright RGB image: all of it with the shorter side at `resize`; of a strip, the centre."""
    short, long = sorted(image.size)
    longer = max(1, int(preprocess.resize * long / short))
    if long > LONGEST_KEPT * short or longer <= preprocess.crop:
        return preprocess.fit(image)
    # A centre crop as large as the longer side is the whole image, black along the shorter one: that margin goes.
    square = preprocess.model_copy(update={"crop": longer}).fit(image)
    margin = (longer - preprocess.resize) // 2
    inside = slice(margin, margin + preprocess.resize)
    return np.ascontiguousarray(square[:, inside] if image.width <= image.height else square[inside])


def _decoded(file: Path, content: str, preprocess: Preprocess) -> UInt8Image:
    try:
        with room_to_read(file):
            data = file.read_bytes()
            if bytes_sha256(data) != content:
                raise DataError(f"{file} changed after the data were validated; run `graft adapt` again")
            header = read_header(data, VALIDATED_FORMATS, VALIDATED_MAX_PIXELS)
            with room_to_decode(header):
                return resized(pixels_of(header), preprocess)
    except OSError as err:
        raise DataError(f"{file} cannot be read ({err.strerror}); it was there when the data were validated") from err
    except UndecodableImage as err:
        raise DataError(f"{file} cannot be decoded ({err}); it could when the data were validated") from err
