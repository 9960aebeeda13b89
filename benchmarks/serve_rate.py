"""Throughput of the server over a bare decode + ONNX Runtime loop on the same core.

    python -m benchmarks.serve_rate RELEASE PACK [--rounds 5] [--seconds 10]

Server and bare loop share one core in turn, the load comes from another one. The photos are the pack's, as JPEG of
1024x768. One more run has a worker on every core, beside the load: reported only.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.rounds import (
    command_line,
    conditions,
    interleaved,
    keep_section,
    load_now,
    markdown_table,
    median_of,
    median_ratio,
    spread,
)
from benchmarks.serve_scene import Rate, bare_rate, make_photos, served_rate, serving

GOAL = 0.95


def measure(release: Path, photos: Path, rounds: int, seconds: float, connections: int) -> dict[str, list[Rate]]:
    """Every case, a value a round."""
    serving_core, load_core = sorted(os.sched_getaffinity(0))[:2]
    with serving(release, {serving_core}, "--workers", 1) as server:
        cases = {
            "bare loop, one image a run": partial(bare_rate, release, photos, seconds, serving_core, 1),
            "bare loop, four images a run": partial(bare_rate, release, photos, seconds, serving_core, 4),
            "server, one worker": partial(served_rate, server, photos, seconds, load_core, connections),
        }
        found = interleaved(cases, rounds)
    both = {serving_core, load_core}
    with serving(release, both, "--workers", 2) as server:
        every = partial(served_rate, server, photos, seconds, None, 2 * connections)
        return found | interleaved({"server, two workers, the load on the same two cores": every}, 1)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("release", type=Path, help="a release folder")
    parser.add_argument("pack", type=Path, help="a folder of photos")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=6, help="of the load (default: %(default)s)")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("the server and its load need a core each")
    busy = load_now()
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(arguments.pack, Path(folder) / "photos")
        kilobytes = [file.stat().st_size / 1000 for file in photos.iterdir()]
        found = measure(arguments.release.resolve(), photos, arguments.rounds, arguments.seconds, arguments.connections)
    images = {name: [one.images for one in rates] for name, rates in found.items()}
    cpu_ms = {name: median_of(one.cpu_ms for one in rates) for name, rates in found.items()}
    best = max((name for name in images if name.startswith("bare")), key=lambda name: median_of(images[name]))
    ratio = median_ratio(images["server, one worker"], images[best])
    rows = [
        [name, spread(values), f"{median_of(values) / median_of(images[best]):.3f}", f"{cpu_ms[name]:.2f}"]
        for name, values in images.items()
    ]
    text = (
        f"{conditions(arguments.rounds, busy)} {arguments.pack.name}: {len(kilobytes)} photos, JPEG 1024x768, "
        f"{median_of(kilobytes):.0f} kB; {arguments.connections} kept connections.\n\n"
        + markdown_table(["", "images a second, median (range)", "against the best bare loop", "CPU ms an image"], rows)
        + "\n\nServer over the best bare loop, both on one core, median of the rounds' ratios: "
        + f"**{ratio:.3f}** (wanted: {GOAL}); "
        + f"by CPU time an image {cpu_ms[best] / cpu_ms['server, one worker']:.3f}."
    )
    keep_section("serve rate", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
