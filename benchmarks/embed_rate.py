"""Stage embed against a bare Pillow and ONNX Runtime loop on every core (bare_embed.py), same photos, same graph.

    python -m benchmarks.embed_rate DOGS_CATS --weights MOBILENET_V2.pth [--rounds 3] [--batch 1 4 16]

Whole processes with their imports on both sides; the feature cache is emptied before every round. Embed also compares
every file's sha256, keeps every row in its cache and writes its outs. Both sides must give the same bytes.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np

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
from tasks.reports.backbone import BackboneReport

BARE = Path(__file__).with_name("bare_embed.py")


def bare(made: FreshWorkspace, files: Path, features: Path, batch: int, one_session: bool = False) -> Finished:
    """One process of the bare loop, with as many threads as this process may use."""
    preprocess = BackboneReport.read(made.workspace.backbone / "backbone.json").preprocess
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    command = [sys.executable, BARE, files, made.workspace.backbone / "model.onnx", features]
    command += ["--threads", threads, "--batch", batch, "--resize", preprocess.resize, "--crop", preprocess.crop]
    return timed([*command, *(["--one-session"] if one_session else [])], made.root)


def embed(made: FreshWorkspace, under_dvc: bool) -> Finished:
    """One process of the stage, with nothing in the feature cache."""
    made.forget_features()
    return made.dvc("repro", "--force", "--single-item", "embed") if under_dvc else made.stage("embed")


def list_files(made: FreshWorkspace, setting: Setting, file: Path) -> int:
    """Write the accepted photos in the order of the features; returns how many there are."""
    from tasks.tables import EMBEDDING_INDEX, read_table

    paths = read_table(made.workspace.embedding_index, EMBEDDING_INDEX)["path"].to_pylist()
    file.write_text("\n".join(str(setting.data / path) for path in paths), encoding="utf-8")
    return len(paths)


def measure(setting: Setting, rounds: int, batches: list[int]) -> tuple[dict[str, list[Finished]], int, bool]:
    """All rounds, the number of photos, and whether the two sides gave the same features."""
    with fresh_workspace() as made:
        made.prepare(setting)
        made.dvc("repro", "embed")
        files, features = made.root.parent / "files.txt", made.root.parent / "features.npy"
        images = list_files(made, setting, files)
        cases = {"embed": partial(embed, made, False), "embed under DVC": partial(embed, made, True)}
        cases |= {f"bare loop, batch {size}": partial(bare, made, files, features, size) for size in batches}
        cases |= {"bare loop, one session": partial(bare, made, files, features, batches[-1], True)}
        found = interleaved(cases, rounds)
        return found, images, bool(np.array_equal(np.load(features), np.load(made.workspace.features)))


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16], help="of the bare loop")
    arguments = parser.parse_args()
    print(warn_of_uncommitted(), file=sys.stderr)
    load, setting = load_now(), Setting(arguments.pack.resolve(), arguments.weights.resolve())
    found, images, same = measure(setting, arguments.rounds, arguments.batch)
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
    agree = "the same bytes" if same else "DIFFERENT FEATURES"
    text = f"{conditions(arguments.rounds, load)} {setting.data.name}, {images} photos; both sides gave {agree}.\n\n"
    text += markdown_table(header, rows)
    keep_section("embed", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
