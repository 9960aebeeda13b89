"""`graft score` against a bare Pillow and ONNX Runtime loop (bare_score.py): same photos, same graph, every core.

    python -m benchmarks.score_rate DOGS_CATS --weights MOBILENET_V2.pth [--rounds 5] [--repeats 3] [--batch 1 4 16]
    python -m benchmarks.score_rate DOGS_CATS --release RELEASE

Whole processes with their imports on both sides. The release is made from the pack first, or named: a folder of a
release store. The photos are listed `--repeats` times in a table. The bare setting with the best median is what counts.
Both sides must give the same top-1 and the same probabilities to 1e-5. Memory is the peak of what `graft score` holds,
at one and at four times the rows.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.fresh_workspace import Setting, fresh_workspace
from benchmarks.rounds import (
    Finished,
    command_line,
    conditions,
    interleaved,
    keep_section,
    load_now,
    markdown_table,
    median_of,
    median_ratio,
    spread,
    timed,
)
from flows.store import releases_of
from tasks.preprocess import Preprocess

BARE = Path(__file__).with_name("bare_score.py")
ROOT = Path(__file__).resolve().parents[1]
GREATER = 4
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@contextmanager
def a_release(pack: Path, release: Path | None, weights: Path | None) -> Iterator[Path]:
    """The release that is named, or one that `graft adapt` makes from the pack."""
    if release is not None or weights is None:
        yield (release or Path()).resolve()
        return
    with fresh_workspace() as made:
        made.adapt(Setting(pack, weights.resolve()))
        (found,) = releases_of(made.root / "releases")
        yield found


def score_command(table: Path, output: Path, release: Path) -> list[object]:
    return [sys.executable, "-m", "flows.cli", "score", table, "-o", output, "--release", release]


def score(table: Path, output: Path, release: Path) -> Finished:
    """One process of `graft score`, with nothing there to take over."""
    output.unlink(missing_ok=True)
    return timed(score_command(table, output, release), ROOT)


def bare(files: Path, probabilities: Path, release: Path, batch: int, processes: bool) -> Finished:
    """One run of the bare loop, with as many workers as this process may use cores."""
    preprocess = Preprocess.model_validate_json((release / "preprocess.json").read_bytes())
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    command = [sys.executable, BARE, files, release / "model.onnx", probabilities]
    command += ["--workers", workers, "--batch", batch, "--resize", preprocess.resize, "--crop", preprocess.crop]
    return timed([*command, *(["--processes"] if processes else [])], ROOT)


def write_lists(photos: Sequence[Path], folder: Path, repeats: int, name: str) -> tuple[Path, Path]:
    """A table for Graft, in the photos' folder's terms, and a list for the bare loop."""
    table, files = folder / f"{name}.csv", folder / f"{name}.txt"
    with table.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["path"])
        rows.writerows([[photo.relative_to(folder).as_posix()] for photo in photos] * repeats)
    files.write_text("\n".join([str(photo) for photo in photos] * repeats), encoding="utf-8")
    return table, files


def peak_mb(command: Sequence[object]) -> float:
    """Most resident megabytes of a command, files that it maps included."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *map(str, command)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    kilo = 1024 if sys.platform != "darwin" else 1
    return int(done.stdout) * kilo / 1e6


def measure(pack: Path, release: Path, rounds: int, repeats: int, batches: list[int]) -> tuple[str, str]:
    """What is measured, and the two tables."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "photos").symlink_to(pack, target_is_directory=True)
        photos = sorted((folder / "photos").glob("*/*.jpg"))
        table, files = write_lists(photos, folder, repeats, "rows")
        output, probabilities = folder / "scores.parquet", folder / "bare.npy"
        cases = {"graft score": partial(score, table, output, release)}
        for kind, processes in (("threads", False), ("processes", True)):
            cases |= {
                f"bare loop, {kind}, batch {size}": partial(bare, files, probabilities, release, size, processes)
                for size in batches
            }
        found = interleaved(cases, rounds)
        agree = agreement(output, np.load(probabilities))
        memory = memory_table(photos, folder, release, repeats)
    images = len(photos) * repeats
    return f"{images:,} rows ({len(photos):,} photos, {repeats} times); {agree}.", "\n\n".join(
        [rate_table(found, images), memory]
    )


def agreement(output: Path, bare_rows: np.ndarray) -> str:
    ours = np.array(pq.ParquetFile(output).read(["probabilities"])["probabilities"].to_pylist(), dtype=np.float32)
    difference = float(np.abs(ours - bare_rows).max())
    flips = int((ours.argmax(axis=1) != bare_rows.argmax(axis=1)).sum())
    mark = "" if flips == 0 and difference <= 1e-5 else "DIFFERENT ANSWERS: "
    return f"{mark}{flips} top-1 differ, largest difference of a probability {difference:.1g}"


def rate_table(found: dict[str, list[Finished]], images: int) -> str:
    seconds = {name: [run.seconds for run in runs] for name, runs in found.items()}
    best = min((name for name in seconds if name.startswith("bare")), key=lambda name: median_of(seconds[name]))
    rows = [
        [
            name + (" (the best)" if name == best else ""),
            spread(values),
            f"{images / median_of(values):.0f}",
            f"{median_ratio(seconds[best], values):.2f}",
            f"{median_of(run.cpu_seconds for run in found[name]):.1f}",
        ]
        for name, values in seconds.items()
    ]
    header = ["", "seconds, median (range)", "images a second", "rate against the best bare loop", "CPU seconds"]
    return markdown_table(header, rows)


def memory_table(photos: Sequence[Path], folder: Path, release: Path, repeats: int) -> str:
    """Peaks at one and at `GREATER` times the rows, without and with embeddings."""
    rows = []
    for times in (1, GREATER):
        table, _ = write_lists(photos, folder, repeats * times, f"memory-{times}")
        command = score_command(table, folder / f"memory-{times}.parquet", release)
        plain = peak_mb(command)
        full = peak_mb([*score_command(table, folder / f"full-{times}.parquet", release), "--embeddings"])
        rows.append([f"{len(photos) * repeats * times:,}", f"{plain:.0f} MB", f"{full:.0f} MB"])
    return markdown_table(["rows", "peak resident", "with --embeddings"], rows)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("pack", type=Path)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--weights", type=Path, help="of mobilenet_v2; a release is made with them")
    chosen.add_argument("--release", type=Path, help="a release's folder")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16], help="of the bare loop")
    asked = parser.parse_args()
    pack = asked.pack.resolve()
    with a_release(pack, asked.release, asked.weights) as release:
        load = load_now()
        what, tables = measure(pack, release, asked.rounds, asked.repeats, asked.batch)
    text = f"{conditions(asked.rounds, load)} {pack.name}, {what}\n\n{tables}"
    keep_section("score", text, asked.results)
    print(text)


if __name__ == "__main__":
    main()
