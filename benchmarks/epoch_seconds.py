"""Seconds per epoch of fine_tune against a plain loop: in fp32 and bf16, contiguous and channels_last, prefix kept.

    python -m benchmarks.epoch_seconds HYMENOPTERA --weights MOBILENET_V2.pth [--rounds 3] [--epochs 4]
        [--set adapt.method.blocks=4 ...]

Every case is a process of its own (epoch_loop.py) in one workspace that is split, with empty caches. An epoch is one
pass over the training photos and the judgement of the validation photos; the first one, which decodes the photos for
fine_tune's store, is left out of the medians and told beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.fine_tune_accuracy import Pack, setting_of, split_workspace
from benchmarks.fresh_workspace import FreshWorkspace, exported_graph, warn_of_uncommitted
from benchmarks.kept_runs import Told
from benchmarks.rounds import (
    command_line,
    conditions,
    interleaved,
    keep_section,
    load_now,
    markdown_table,
    median_of,
    median_ratio,
    timed,
)

WAYS = {"plain loop": ["plain"], "fine_tune, nothing kept": ["graft"], "fine_tune, prefix kept": ["graft", "--keep"]}
NUMERICS = list(product(("fp32", "bf16"), ("contiguous", "channels_last")))


def case_name(way: str, precision: str, memory_format: str) -> str:
    return f"{way}, {precision}, {memory_format}"


BASE = case_name("plain loop", "fp32", "contiguous")


def run_loop(made: FreshWorkspace, way: Sequence[str], precision: str, memory_format: str, epochs: int) -> Told:
    """One process of epoch_loop.py."""
    options = ["--precision", precision, "--memory-format", memory_format, "--epochs", str(epochs)]
    done = timed([sys.executable, "-m", "benchmarks.epoch_loop", *way, *options], made.root, made.environment)
    told: Told = json.loads(done.stdout.splitlines()[-1])
    return told


def later_epochs(told: Told) -> float:
    """Median seconds of an epoch after the first."""
    return median_of(told["epochs"][1:] or told["epochs"])


def table(found: Mapping[str, Sequence[Told]]) -> str:
    """One row a case; ratios to the plain loop in fp32 and to the one in the same numbers, within a round."""
    seconds = {case: [later_epochs(told) for told in runs] for case, runs in found.items()}
    rows = []
    for case, runs in found.items():
        precision, memory_format = case.split(", ")[-2:]
        same = case_name("plain loop", precision, memory_format)
        rows.append(
            [
                case,
                f"{median_of(seconds[case]):.2f} ({min(seconds[case]):.2f} to {max(seconds[case]):.2f})",
                f"{median_ratio(seconds[BASE], seconds[case]):.1f}",
                f"{median_ratio(seconds[same], seconds[case]):.1f}",
                f"{median_of(told['start'] for told in runs):.1f}",
                f"{median_of(told['epochs'][0] for told in runs):.1f}",
            ]
        )
    header = [
        "",
        "seconds an epoch, median (range)",
        "times faster than the plain loop",
        "than the plain loop in the same numbers",
        "once before, s",
        "first epoch, s",
    ]
    return markdown_table(header, rows)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4, help="a process; at least 2 (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="of Graft's stages; 0: every core")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="for fine_tune; section.key=value")
    arguments: argparse.Namespace = parser.parse_args()
    print(warn_of_uncommitted(), file=sys.stderr)
    load, pack = load_now(), Pack(arguments.pack.resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setting = setting_of(pack, arguments.weights.resolve(), folder, arguments.threads)
        with split_workspace(pack, setting, exported_graph(setting, folder / "graph")) as made:
            sets = ["adapt.method.name=fine_tune", *arguments.sets]
            command = [sys.executable, "-m", "benchmarks.prepared_workspace", setting.data, *setting.overrides]
            timed([*command, *sets], made.root, made.environment)
            cases = {
                case_name(way, precision, memory_format): partial(
                    run_loop, made, options, precision, memory_format, arguments.epochs
                )
                for way, options in WAYS.items()
                for precision, memory_format in NUMERICS
            }
            found = interleaved(cases, arguments.rounds)
    settings = f"fine_tune with {', '.join(arguments.sets)}." if arguments.sets else "fine_tune with its defaults."
    words = f"{conditions(arguments.rounds, load)} {pack.name}, mobilenet_v2, {settings}"
    text = "\n\n".join([words, table(found)])
    keep_section("epoch seconds", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
