"""What the frozen part of a network gives for each item and variant: computed once, read in every epoch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import fx, nn

from tasks.backbones.engine import installed_engine
from tasks.digests import bytes_sha256, file_sha256, rows_sha256, value_sha256
from tasks.errors import StageInputError
from tasks.params.training import TrainingParams
from tasks.reports.document import write_bytes
from tasks.stage import Progress, say
from tasks.threads import worker_threads
from tasks.training.activation_folders import in_use, make_room, unused
from tasks.training.examples import Inputs, IntVector
from tasks.training.frozen_engine import Compute, compute_with, engine_for, for_inference
from tasks.training.pixels import PixelExamples
from tasks.training.sources import sources_sha256

KEPT_VERSION = 1
"""Raised when the same prefix and images would give other values or another layout, but for a change of SOURCES."""
SOURCES = (
    "training/augmentation.py",
    "training/pixels.py",
    "training/prefix.py",
    "training/frozen_engine.py",
    "training/kept_activations.py",
    "backbones/bodies.py",
    "preprocess.py",
    "decoding.py",
)
"""The code that the values depend on, below `tasks`."""
_MOST_ITEMS, _CHUNK_BYTES = 16, 64 << 20
"""A chunk: computed as one batch a variant, written as one file, lost as a whole when the process is killed."""

Shapes = list[tuple[int, ...]]


class KeptExamples:
    """Activations of a frozen prefix, for each item unvaried and in `views` variants.

    The variants are those that `PixelExamples` gives in the epochs 1 to `views`; they come round again from then on.
    """

    def __init__(self, folder: Path, count: int, views: int, shapes: Shapes, use: IO[bytes]) -> None:
        """
        Args:
            use: what `in_use` gave; held as long as this object lives.
        """
        self._use = use
        self.folder, self.views, self.shapes, self._count = folder, views, shapes, count
        self._record = _floats(shapes)
        self._size = chunk_items(shapes, views)
        self._files = {int(file.name.split("-")[0]): file for file in folder.glob("*.f32")}

    def __len__(self) -> int:
        return self._count

    def inputs(self, rows: IntVector, epoch: int) -> Inputs:
        """One tensor a value that crosses, (rows, *shape) float32, of this epoch's variant.

        Raises:
            StageInputError: a file was cut short after it was found whole.
        """
        return self._variant(rows, 1 + (epoch - 1) % self.views if self.views else 0)

    def plain(self, rows: IntVector) -> Inputs:
        """The same of the items as they are served. Raises as `inputs`."""
        return self._variant(rows, 0)

    def _variant(self, rows: IntVector, variant: int) -> Inputs:
        values = np.empty((len(rows), self._record), dtype=np.float32)
        for place, row in enumerate(rows):
            chunk, item = divmod(int(row), self._size)
            offset = (item * (self.views + 1) + variant) * self._record * 4
            with self._files[chunk].open("rb", buffering=0) as file:
                file.seek(offset)
                if file.readinto(values[place]) != self._record * 4:
                    raise StageInputError(f"{file.name} ends early; run `graft adapt` again, which computes it anew")
        parts = np.split(values, np.cumsum([_floats([shape]) for shape in self.shapes])[:-1], axis=1)
        return tuple(
            torch.from_numpy(np.ascontiguousarray(part)).view(len(rows), *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        )


def keep_activations(
    pixels: PixelExamples,
    prefix: nn.Module,
    parent: Path,
    settings: TrainingParams,
    threads: int = 0,
    device: str = "cpu",
    stage: str = "adapt",
) -> KeptExamples | None:
    """Compute what the prefix gives for every item, or find it from an earlier run.

    Args:
        parent: where folders of activations lie, one for each set of all that determines them.
        threads: of decoding and computing; 0 takes every core. No result depends on it.
    Returns:
        None where not even one variant fits `settings.frozen_cache_gb`, or the disk takes nothing (a line says so);
        fewer than `settings.views` where those fit.
    Raises:
        DataError: a file is gone, changed or no longer decodes; it is named.
    """
    shapes = shapes_of(prefix, pixels.preprocess.crop)
    views = _views_within(len(pixels), shapes, settings)
    if views is None:
        return None
    network, engine = for_inference(prefix).to(device), engine_for(len(pixels) * (views + 1), device)
    key = _key(pixels, network, views, [engine, device])
    try:
        make_room(parent, key, round(settings.frozen_cache_gb * 1e9) - size_of(len(pixels), shapes, views))
        use = in_use(parent / key, pixels.contents)
    except OSError as err:
        _not_kept(parent / key, err)
        return None

    def compute_with_engine() -> Compute:
        return compute_with(engine, network, pixels.preprocess.crop, parent / key / "draft.onnx")

    progress = Progress(stage, len(pixels))
    try:
        _fill(parent / key, pixels, compute_with_engine, shapes, views, worker_threads(threads), progress)
    except OSError as err:
        use.close()
        _not_kept(parent / key, err)
        return None
    return KeptExamples(parent / key, len(pixels), views, shapes, use)


def _not_kept(folder: Path, err: OSError) -> None:
    """Say that the disk is full or may not be written; what it took gives room again, unless another reads it."""
    say(
        f"training: the frozen part is computed in every epoch: what it gives cannot be kept in {folder} "
        f"({err.strerror})",
        "warning",
    )
    with suppress(OSError), unused(folder) as free:
        if free:
            shutil.rmtree(folder, ignore_errors=True)


def size_of(count: int, shapes: Shapes, views: int) -> int:
    """Bytes on disk of so many items in so many variants and unvaried."""
    return count * (views + 1) * _floats(shapes) * 4


def shapes_of(prefix: nn.Module, side: int) -> Shapes:
    """Shape of each value that crosses, of one image of `side` pixels, without its batch axis."""
    parameter = next(prefix.parameters())
    with torch.inference_mode():
        values = prefix(torch.zeros(1, 3, side, side, device=parameter.device))
    return [tuple(value.shape[1:]) for value in values]


def chunk_items(shapes: Shapes, views: int) -> int:
    """Items of one chunk: one file of at most 64 MiB, where an item is not larger than that."""
    return max(1, min(_MOST_ITEMS, _CHUNK_BYTES // (_floats(shapes) * 4 * (views + 1))))


def _floats(shapes: Sequence[tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)


def _views_within(count: int, shapes: Shapes, settings: TrainingParams) -> int | None:
    wanted = 0 if settings.augmentation == "none" else min(settings.views, settings.epochs * settings.passes)
    each = size_of(count, shapes, 0)
    fitting = round(settings.frozen_cache_gb * 1e9) // each - 1 if each else wanted
    if fitting >= wanted:
        return wanted
    needed = f"{size_of(count, shapes, wanted) / 1e9:.1f} GB for {wanted} variants of {count} items"
    if fitting < min(1, wanted):
        say(
            f"training: the frozen part is computed in every epoch: keeping it takes {needed}, and "
            f"frozen_cache_gb is {settings.frozen_cache_gb:g}"
        )
        return None
    say(
        f"training: {fitting} variants of each image are kept: it takes {needed}, and "
        f"frozen_cache_gb is {settings.frozen_cache_gb:g}"
    )
    return fitting


def _key(pixels: PixelExamples, network: nn.Module, views: int, engine: list[str]) -> str:
    state = [
        (name, bytes_sha256(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes()))
        for name, value in network.state_dict().items()
    ]
    settings = pixels.settings
    return value_sha256(
        {
            "version": KEPT_VERSION,
            "code": sources_sha256(*SOURCES),
            "weights": rows_sha256(state),
            "network": str(network.graph) if isinstance(network, fx.GraphModule) else str(network),
            "items": rows_sha256((item,) for item in pixels.contents),
            "preprocess": pixels.preprocess.model_dump(mode="json"),
            "variants": [views, settings.augmentation, settings.horizontal_flip, settings.seed] if views else [],
            "engine": installed_engine().model_dump(mode="json"),
            "torch": [
                version("torch"),
                version("torchvision"),
                version("numpy"),
                torch.backends.cpu.get_cpu_capability(),
                *engine,
            ],
        }
    )[:24]


def _fill(
    folder: Path,
    pixels: PixelExamples,
    engine: Callable[[], Compute],
    shapes: Shapes,
    views: int,
    workers: int,
    progress: Progress,
) -> None:
    """Compute the chunks that are missing or damaged; `engine` is made ready only if there are any."""
    size = chunk_items(shapes, views)
    with ThreadPoolExecutor(workers) as pool, one_torch_thread():
        whole = _whole_chunks(folder, pool)
        missing = [start for start in range(0, len(pixels), size) if start // size not in whole]
        left = sum(min(size, len(pixels) - start) for start in missing)
        if missing:
            say(f"training: frozen part of {left} of {len(pixels)} items to compute, {views + 1} times each")
            progress.advance(len(pixels) - left)
            compute = engine()
            for count in pool.map(lambda start: _keep_chunk(folder, pixels, compute, start, size, views), missing):
                progress.advance(count)
    with suppress(OSError):  # a disk that may only be read
        os.utime(folder)


def _keep_chunk(folder: Path, pixels: PixelExamples, compute: Compute, start: int, size: int, views: int) -> int:
    """Compute and write the items from `start` on, at most `size`; returns how many there were."""
    rows = range(start, min(start + size, len(pixels)))
    values = []
    for variant in range(views + 1):
        images = [pixels.variant(row, variant) if variant else pixels.served(row) for row in rows]
        values.append(compute(pixels.normalised(np.stack(images))))
    data = np.stack(values, axis=1).astype(np.float32, copy=False).tobytes()
    write_bytes(folder / f"{start // size:06d}-{bytes_sha256(data)}.f32", data)
    return len(rows)


def _whole_chunks(folder: Path, pool: ThreadPoolExecutor) -> set[int]:
    """Numbers of the chunks that are on disk undamaged; the others' files are removed."""
    files = sorted(folder.glob("*.f32"))
    whole = set()
    for file, sha256 in zip(files, pool.map(file_sha256, files), strict=True):
        number, _, named = file.stem.partition("-")
        if sha256 == named and int(number) not in whole:
            whole.add(int(number))
        else:
            say(f"training: kept activations {file.name[:20]}... are damaged; they are computed again", "warning")
            file.unlink()
    return whole


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Each worker computes by itself: faster than all of them at one batch, and no result depends on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
