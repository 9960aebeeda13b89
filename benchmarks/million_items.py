"""How long validate's table work and split take on a synthetic table of up to a million items, and in how much memory.

    python -m benchmarks.million_items [--items 10000 100000 1000000] [--folder DIR]

No image is made. What inspecting the files would have told is drawn from a seed, and handed to the stage in place of
the inspections; the rest of stage validate runs as it is. So does the whole of split, on features of 1,280
half-precision numbers that are drawn the same way. Each stage is a process of its own. Besides seconds and memory the
table says how many of the planted near-duplicates stand in one group with their original.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.rounds import RESULTS, conditions, keep_section, load_now, markdown_table
from tasks.tables import EMBEDDING_INDEX, ITEMS, SPLIT_MEMORY, SPLITS, read_table, write_table
from tasks.workspace import Workspace

CLASSES, WIDTH, LATENT, SCENE = 100, 1280, 256, 20
"""Classes; width of a feature row; hidden dimensions of a picture; pictures of one scene, which resemble each other."""

NEAR_SHARE, COPY_SHARE, FLAT_SHARE, BROKEN_SHARE, CONFLICT_SHARE = 0.01, 0.005, 0.002, 0.005, 0.0002
"""Shares of the items: planted near-duplicates, exact copies, flat images that all have the hash 0, undecodable files,
and copies under another label."""

DRAWN = pa.schema([field for field in ITEMS if field.name != "status"])


@dataclass(frozen=True)
class ClassDraw:
    """One class of the synthetic data, in the order of the paths.

    `kinds` is per item 0 (a picture of its own), 1 (near-duplicate of `source`), 2 (exact copy of `source`), 3 (flat),
    4 (undecodable) or 5 (content of the class before); `source` is a number within the class.
    """

    kinds: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    latent: npt.NDArray[np.float32]


def draw_class(number: int, count: int) -> ClassDraw:
    """The pictures of one class: a centre, scenes around it, pictures around those, with a falling spectrum."""
    rng = np.random.default_rng([7, number, count])
    fall = (1 / np.sqrt(1 + np.arange(LATENT))).astype(np.float32)
    centre = rng.normal(size=LATENT)
    scenes = rng.normal(size=(count // SCENE + 1, LATENT))[np.arange(count) // SCENE]
    latent = ((centre + 0.7 * scenes + rng.normal(size=(count, LATENT))) * fall).astype(np.float32)
    shares = [NEAR_SHARE, COPY_SHARE, FLAT_SHARE, BROKEN_SHARE, CONFLICT_SHARE if number else 0.0]
    kinds = rng.choice(6, size=count, p=[1 - sum(shares), *shares])
    originals = np.flatnonzero(kinds == 0)
    source = np.where(np.isin(kinds, (1, 2)), rng.choice(originals, size=count), np.arange(count))
    noise = (rng.uniform(0.05, 0.3, (count, 1)) * rng.normal(size=latent.shape) * fall).astype(np.float32)
    latent[kinds == 3] = 1e-3 * fall
    latent = np.where((kinds == 3)[:, None], latent + 0.01 * noise, latent)
    latent = latent[source] + noise * (kinds == 1)[:, None]
    return ClassDraw(kinds, source, latent.astype(np.float32))


def draw_features(drawn: ClassDraw) -> npt.NDArray[np.float16]:
    """(items, 1280) rows as of a pooled ReLU layer."""
    rng = np.random.default_rng(11)
    weights = rng.normal(size=(LATENT, WIDTH)).astype(np.float32)
    return np.maximum(drawn.latent @ weights + 0.5, 0).astype(np.float16)


def draw_rows(number: int, count: int) -> pa.Table:
    """What the listing and the inspections tell of one class (schema DRAWN)."""
    drawn, rng = draw_class(number, count), np.random.default_rng([13, number, count])
    planes = np.random.default_rng(17).normal(size=(LATENT, 64)).astype(np.float32)
    bits = np.packbits(drawn.latent @ planes + 0.2 > 0, axis=1)
    hashes = bits.view(np.uint64)[:, 0]
    hashes[drawn.kinds == 3] = 0
    broken = drawn.kinds == 4
    contents = np.where(drawn.kinds == 2, drawn.source, np.arange(count))
    owner = np.where(drawn.kinds == 5, number - 1, number)
    sha256 = [hashlib.sha256(f"{a}:{b}".encode()).hexdigest() for a, b in zip(owner, contents, strict=True)]
    groups = [f"visit-{number}-{scene}" if scene % 5 == 0 else None for scene in np.arange(count) // SCENE]

    def known(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=broken)

    columns = {
        "path": [f"class_{number:03d}/{place:07d}.jpg" for place in range(count)],
        "label": [f"class_{number:03d}"] * count,
        "group": groups,
        "split": pa.nulls(count, pa.string()),
        "domain": pa.nulls(count, pa.string()),
        "sha256": sha256,
        "bytes": rng.integers(2_000, 200_000, count),
        "format": ["JPEG"] * count,
        "mode": known(["RGB"] * count, pa.string()),
        "width": known(rng.integers(200, 800, count), pa.int32()),
        "height": known(rng.integers(200, 800, count), pa.int32()),
        "perceptual_hash": known(hashes, pa.uint64()),
        "brightness": known(rng.normal(120, 30, count).clip(1, 254), pa.float32()),
        "sharpness": known(rng.gamma(2.0, 300, count), pa.float32()),
        "pixels": pa.array([rng.bytes(256) if good else None for good in ~broken], ITEMS.field("pixels").type),
        "reason": pa.array(np.where(broken, "truncated JPEG", None), pa.string()),
    }
    absent = {name: pa.nulls(count, DRAWN.field(name).type) for name in DRAWN.names if name not in columns}
    return pa.table(columns | absent, schema=DRAWN)


def make(root: Path, count: int) -> None:
    """Write a workspace in which the inspections lie ready."""
    with pq.ParquetWriter(root / "drawn.parquet", DRAWN) as writer:
        for number in range(CLASSES):
            writer.write_table(draw_rows(number, count // CLASSES))
    workspace = Workspace(root)
    write_table(SPLIT_MEMORY.empty_table(), workspace.splits_lock)


def embed(root: Path, count: int) -> None:
    """Write the features of the accepted items, as stage embed would, in half precision."""
    workspace = Workspace(root)
    accepted = read_table(workspace.items, ITEMS).select(["path", "sha256", "status"])
    mask = accepted["status"].to_numpy() == "accepted"
    write_table(accepted.filter(pa.array(mask)).select(EMBEDDING_INDEX.names), workspace.embedding_index)
    header = {"descr": "<f2", "fortran_order": False, "shape": (int(mask.sum()), WIDTH)}
    with workspace.features.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        each = count // CLASSES
        for number in range(CLASSES):
            rows = draw_features(draw_class(number, each))
            file.write(np.ascontiguousarray(rows[mask[number * each : (number + 1) * each]]).data)


def validate(root: Path) -> None:
    """Run stage validate, with what was drawn in place of the listing and of the inspections."""
    import tasks.validate as stage
    from tasks.layouts import Listing
    from tasks.modalities.images import Inspection
    from tasks.params import Params
    from tasks.table_listing import Item

    drawn = pq.ParquetFile(root / "drawn.parquet")
    listed = ["path", "label", "group", "split", "domain"]
    found = ["bytes", *(name for name in DRAWN.names if name not in listed and name != "bytes")]

    def rows(names: list[str]) -> Iterator[tuple[Any, ...]]:
        for group in range(drawn.num_row_groups):
            table = drawn.read_row_group(group, columns=names)
            yield from zip(*(table[name].to_pylist() for name in names), strict=True)

    def item(path: str, *others: str | None) -> Item:
        return Item(path, *(sys.intern(other) if other else other for other in others))

    listing = Listing(root, "class folders", [item(*row) for row in rows(listed)], [])
    inspected = [*found[:1], *found[1:]]
    names = ["file_bytes", *inspected[1:]]
    stage.list_items = lambda *_: listing  # type: ignore[assignment]
    stage.inspect_files = lambda *_: (  # type: ignore[assignment]
        Inspection(**dict(zip(names, row, strict=True))) for row in rows(inspected)
    )
    stage.validate(Workspace(root), Params())


def split(root: Path) -> None:
    """Run stage split."""
    from tasks.params import Params
    from tasks.split import split as run

    run(Workspace(root), Params())


def recall(root: Path, count: int) -> float:
    """Share of the planted near-duplicates that stand in one group with their original."""
    splits = read_table(Workspace(root).splits, SPLITS)
    group = dict(zip(splits["path"].to_pylist(), splits["group"].to_pylist(), strict=True))
    together = planted = 0
    for number in range(CLASSES):
        drawn = draw_class(number, count // CLASSES)
        for place in np.flatnonzero(drawn.kinds == 1):
            pair = [f"class_{number:03d}/{one:07d}.jpg" for one in (place, drawn.source[place])]
            if all(path in group for path in pair):
                planted += 1
                together += group[pair[0]] == group[pair[1]]
    return together / max(planted, 1)


@dataclass(frozen=True)
class Cost:
    """What one process took: wall and processor seconds, and its largest resident memory as the kernel and as a sampler
    saw it."""

    seconds: float
    cpu_seconds: float
    max_rss: int
    sampled_rss: int

    def cells(self, count: int) -> list[str]:
        """As the table shows it."""
        times = [f"{self.seconds:.1f}", f"{self.cpu_seconds:.1f}", f"{self.cpu_seconds / count * 1e6:.0f}"]
        return [*times, f"{self.max_rss / 1e9:.2f} GB", f"{self.sampled_rss / 1e9:.2f} GB"]


def measured(step: str, root: Path, count: int) -> Cost:
    """Run one step as a process.

    Raises:
        SystemExit: the step failed.
    """
    command = [sys.executable, "-m", "benchmarks.million_items", "--step", step, "--folder", str(root)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--items", str(count)], cwd=Path(__file__).parents[1])
    peak, ended = [0], threading.Event()

    def sample() -> None:
        watched = psutil.Process(process.pid)
        while not ended.wait(0.05):
            try:
                peak[0] = max(peak[0], watched.memory_info().rss)
            except psutil.Error:
                return

    sampler = threading.Thread(target=sample)
    sampler.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    ended.set()
    sampler.join()
    if status:
        raise SystemExit(f"step {step} at {count} items ended with status {os.waitstatus_to_exitcode(status)}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, peak[0])


def measure(count: int, folder: Path) -> list[list[str]]:
    """Rows of the results table for one size."""
    root = folder / str(count)
    root.mkdir(parents=True, exist_ok=True)
    measured("make", root, count)
    costs = {"validate's table work": measured("validate", root, count)}
    measured("embed", root, count)
    costs["split"] = measured("split", root, count)
    found = {"split": f"{recall(root, count):.1%}"}
    return [[f"{count:,}", stage, *cost.cells(count), found.get(stage, "")] for stage, cost in costs.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--results", type=Path, default=RESULTS, help="the page whose section is rewritten")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder unless given")
    parser.add_argument("--step", choices=["make", "validate", "embed", "split"], help="run one step in this process")
    asked = parser.parse_args(arguments)
    if asked.step:
        made = {"make": make, "embed": embed}
        run = {"validate": validate, "split": split}
        count = asked.items[0]
        made[asked.step](asked.folder, count) if asked.step in made else run[asked.step](asked.folder)
        return
    times = ["seconds", "processor seconds", "processor seconds per million"]
    header = ["items", "stage", *times, "peak resident", "sampled", "planted pairs together"]
    load = load_now()
    with tempfile.TemporaryDirectory() as temporary:
        rows = [row for count in asked.items for row in measure(count, asked.folder or Path(temporary))]
    text = f"{conditions(1, load)}\n\n{markdown_table(header, rows)}"
    keep_section("million items", text, asked.results)
    print(text)


if __name__ == "__main__":
    main()
