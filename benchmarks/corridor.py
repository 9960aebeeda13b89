"""The corridor against a plain script: eager frozen features and scikit-learn's logistic regression (plain_probe.py).

    python -m benchmarks.corridor HYMENOPTERA [DOGS_CATS ...] --weights MOBILENET_V2.pth [--rounds 3] [--workers 0 1 2]

Every round runs the corridor from nothing, the plain script and the corridor with the backbone's ONNX graph there,
each corridor in a fresh workspace with empty caches. The plain script is judged on the corridor's own split. A stage's
seconds are the wall time of its process with DVC and imports; the script's are the wall time of its process.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fresh_workspace import Adapted, Setting, fresh_workspace, warn_of_uncommitted
from benchmarks.rounds import (
    command_line,
    conditions,
    keep_section,
    load_now,
    markdown_table,
    median_of,
    median_ratio,
    spread,
    timed,
)
from tasks.workspace import STAGES

PLAIN = Path(__file__).with_name("plain_probe.py")


@dataclass(frozen=True)
class PlainRun:
    seconds: float
    accuracy: float


@dataclass(frozen=True)
class Comparison:
    """All rounds of one pack; the lists are parallel, one entry a round."""

    pack: str
    workers: int
    workers_tried: dict[int, float]
    from_nothing: list[Adapted]
    plain: list[PlainRun]
    with_graph: list[Adapted]

    @property
    def plain_seconds(self) -> list[float]:
        return [run.seconds for run in self.plain]

    @property
    def export_seconds(self) -> float:
        """The one-time export: what embed takes longer without the graph."""
        pairs = zip(self.from_nothing, self.with_graph, strict=True)
        return median_of(nothing.stages["embed"] - graph.stages["embed"] for nothing, graph in pairs)


def run_plain(setting: Setting, sides: Path, workers: int) -> PlainRun:
    """One process of the plain script."""
    command = [sys.executable, PLAIN, setting.data, sides, setting.weights, "--workers", str(workers)]
    done = timed(command, sides.parent)
    return PlainRun(done.seconds, float(json.loads(done.stdout)["accuracy"]))


def compare(setting: Setting, rounds: int, workers: list[int]) -> Comparison:
    """All rounds of one pack. Several `workers` are tried once each, and the fastest is the plain script's."""
    from_nothing, plain, with_graph = [], [], []
    tried: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        sides, graph = Path(folder) / "sides.csv", Path(folder) / "graph"
        for number in range(1, rounds + 1):
            with fresh_workspace() as made:
                from_nothing.append(made.adapt(setting))
                made.write_sides(sides)
                made.keep_graph(graph)
            if not tried and len(workers) > 1:
                tried = {count: run_plain(setting, sides, count).seconds for count in workers}
            fastest = min(tried, key=lambda count: tried[count]) if tried else workers[0]
            plain.append(run_plain(setting, sides, fastest))
            with fresh_workspace(graph) as made:
                with_graph.append(made.adapt(setting))
            print(
                f"{setting.data.name} round {number}/{rounds}: from nothing {from_nothing[-1].stage_seconds:.1f} s, "
                f"plain {plain[-1].seconds:.1f} s, with graph {with_graph[-1].stage_seconds:.1f} s",
                file=sys.stderr,
            )
    return Comparison(setting.data.name, fastest, tried, from_nothing, plain, with_graph)


def totals(found: list[Comparison]) -> str:
    """One row a pack and way."""
    rows = []
    for one in found:
        plain = one.plain_seconds
        accuracy, test_items = median_of(run.accuracy for run in one.plain), one.with_graph[0].test_items
        rows.append(
            [
                f"{one.pack}: plain script, {one.workers} workers",
                spread(plain),
                "1",
                "",
                f"{accuracy:.3f} of {test_items}",
            ]
        )
        for name, runs in (("graph there", one.with_graph), ("from nothing", one.from_nothing)):
            seconds = [run.stage_seconds for run in runs]
            rows.append(
                [
                    f"{one.pack}: corridor, {name}",
                    spread(seconds),
                    f"{median_ratio(seconds, plain):.2f}",
                    spread([run.wall for run in runs]),
                    f"{runs[0].accuracy:.3f} of {test_items}",
                ]
            )
        rows.append([f"{one.pack}: one-time export of the graph", f"{one.export_seconds:.1f}", "", "", ""])
    header = ["", "stage seconds, median (range)", "ratio to plain", "whole command, s", "accuracy"]
    return markdown_table(header, rows)


def per_stage(found: list[Comparison]) -> str:
    """Median seconds of every stage with the graph there."""
    rows = []
    for stage in STAGES:
        rows.append([stage, *(f"{median_of(run.stages[stage] for run in one.with_graph):.1f}" for one in found)])
    return markdown_table(["stage, graph there", *(f"{one.pack}, s" for one in found)], rows)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("packs", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="of the plain script's DataLoader: tried on the first pack, the fastest is used (default: %(default)s)",
    )
    arguments = parser.parse_args()
    print(warn_of_uncommitted(), file=sys.stderr)
    load = load_now()
    settings = [Setting(pack.resolve(), arguments.weights.resolve()) for pack in arguments.packs]
    found: list[Comparison] = []
    for setting in settings:
        found.append(compare(setting, arguments.rounds, [found[0].workers] if found else arguments.workers))
    tried = "; ".join(
        f"{one.pack} " + ", ".join(f"{count} workers {seconds:.1f} s" for count, seconds in one.workers_tried.items())
        for one in found
        if one.workers_tried
    )
    words = conditions(arguments.rounds, load)
    note = f"The plain script's DataLoader, tried once each: {tried}." if tried else ""
    text = "\n\n".join(part for part in (words, totals(found), note, per_stage(found)) if part)
    keep_section("corridor", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
