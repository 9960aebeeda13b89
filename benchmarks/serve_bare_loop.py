"""What a server cannot do better than: decode, prepare and run the same images in a loop, one thread, no network.

    python -m benchmarks.serve_bare_loop RELEASE IMAGES --seconds 10 [--batch 1] [--core 0]

Prints images a second, and CPU milliseconds an image.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from tasks.opened_release import OpenedRelease


def rate(opened: OpenedRelease, images: list[bytes], seconds: float, batch: int) -> tuple[float, float]:
    """Images a second and CPU milliseconds an image, decoded one by one and answered `batch` at a time."""
    done, begun, busy = 0, time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - begun) < seconds:
        chosen = [images[(done + place) % len(images)] for place in range(batch)]
        opened.outputs(np.stack([opened.preprocess.prepare(image) for image in chosen]))
        done += batch
    return done / passed, (time.process_time() - busy) * 1000 / done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--core", type=int)
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    opened = OpenedRelease(arguments.release)
    images = [file.read_bytes() for file in sorted(arguments.images.iterdir())]
    rate(opened, images, 1.0, arguments.batch)
    print(*rate(opened, images, arguments.seconds, arguments.batch))


if __name__ == "__main__":
    main()
