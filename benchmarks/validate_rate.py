"""Stage validate against CleanVision (cleanvision_scan.py), same photos, whole processes with their imports.

    python -m benchmarks.validate_rate DOGS_CATS --cleanvision VENV/bin/python [--rounds 3] [--copies 8] [--jobs 1]

CleanVision 0.3.7 is no dependency: VENV is an environment of its own. `--copies N` also measures N times as many
photos, each made another file by a JPEG comment, so that neither side can count them once. Which checks either side
lacks stands in RESULTS.md.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.fresh_workspace import FreshWorkspace, Setting, fresh_workspace, warn_of_uncommitted
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
from tasks.reports import ValidationReport

SCAN = Path(__file__).with_name("cleanvision_scan.py")
START_OF_IMAGE = b"\xff\xd8"


def commented(jpeg: bytes, comment: str) -> bytes:
    """The same picture as another file: a comment segment behind the first marker.

    Raises:
        ValueError: no JPEG.
    """
    if not jpeg.startswith(START_OF_IMAGE):
        raise ValueError("not a JPEG")
    text = comment.encode()
    return START_OF_IMAGE + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def copies_of(pack: Path, folder: Path, copies: int) -> Path:
    """A pack of class folders, `copies` times, in `folder`."""
    for file in sorted(pack.glob("*/*.jpg")):
        data = file.read_bytes()
        target = folder / file.parent.name
        target.mkdir(parents=True, exist_ok=True)
        for number in range(copies):
            (target / f"{file.stem}-{number}.jpg").write_bytes(commented(data, f"copy {number}"))
    return folder


def validate(made: FreshWorkspace) -> Finished:
    return made.stage("validate")


def cleanvision(python: Path, folder: Path, jobs: int | None) -> Finished:
    chosen = [] if jobs is None else ["--jobs", jobs]
    return timed([python, SCAN, folder, *chosen], SCAN.parent)


def measure(pack: Path, python: Path, rounds: int, jobs: list[int]) -> tuple[str, list[list[str]]]:
    """One line on what CleanVision found, and one row a case."""
    with fresh_workspace() as made:
        made.prepare(Setting(pack, Path("bundled"), "shufflenet_v2_x0_5"))
        cases = {"validate": partial(validate, made), "CleanVision": partial(cleanvision, python, pack, None)}
        cases |= {f"CleanVision, {count} jobs": partial(cleanvision, python, pack, count) for count in jobs}
        found = interleaved(cases, rounds)
        report = ValidationReport.read(made.workspace.validation)
    images = report.listed
    seen = json.loads(found["CleanVision"][-1].stdout.splitlines()[-1])
    seconds = {name: [run.seconds for run in runs] for name, runs in found.items()}
    best = min((name for name in seconds if name != "validate"), key=lambda name: median_of(seconds[name]))
    rows = [
        [
            f"{images} photos: {name}",
            spread(values),
            f"{images / median_of(values):.0f}",
            f"{median_ratio(seconds[best], values):.2f}",
            f"{median_of(run.cpu_seconds for run in found[name]):.1f}",
        ]
        for name, values in seconds.items()
    ]
    hits = ", ".join(f"{name} {count}" for name, count in seen["found"].items() if count) or "nothing"
    return f"CleanVision {seen['version']} named among {seen['images']} photos: {hits}.", rows


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--cleanvision", type=Path, required=True, help="the python of an environment that has it")
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--jobs", type=int, nargs="*", default=[1], help="besides CleanVision's own choice")
    arguments = parser.parse_args()
    print(warn_of_uncommitted(), file=sys.stderr)
    load, python = load_now(), arguments.cleanvision.absolute()
    words, rows = measure(arguments.pack.resolve(), python, arguments.rounds, arguments.jobs)
    if arguments.copies > 1:
        with tempfile.TemporaryDirectory() as folder:
            many = copies_of(arguments.pack, Path(folder).resolve(), arguments.copies)
            rows += measure(many, python, arguments.rounds, [])[1]
    header = ["", "seconds, median (range)", "images a second", "rate against the best CleanVision", "CPU seconds"]
    text = f"{conditions(arguments.rounds, load)} {words}\n\n{markdown_table(header, rows)}"
    keep_section("validate", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
