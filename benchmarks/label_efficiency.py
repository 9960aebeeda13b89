"""Accuracy against labels per class: the linear probe, fine_tune and the same network from scratch.

    python -m benchmarks.label_efficiency DOGS_CATS --weights MOBILENET_V2.pth [--labels 1 5 10 20 50] [--draws 3]
        [--threads 0] [--kept runs.jsonl] [--set section.key=value ...] [--plot label_efficiency.svg]

The pack is validated, embedded and split once. A draw takes that many training items of each class at random and leaves
out all others that are not test items; the smaller draws lie in the larger ones. Stages adapt and evaluate then run as
they are, with `adapt.keep_best: false`, so that fine_tune is shown where it ends below the probe too, and
`adapt.from_scratch: always`. The test items stay the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.fine_tune_accuracy import Pack, accuracies, setting_of, split_workspace
from benchmarks.fresh_workspace import FreshWorkspace, Setting, exported_graph, warn_of_uncommitted
from benchmarks.kept_runs import KeptRuns, Key, Told
from benchmarks.rounds import RESULTS, keep_section, machine, markdown_table, timed

METHODS = ("probe", "fine_tune", "from scratch")
COLOURS = {"probe": "#0072b2", "fine_tune": "#d55e00", "from scratch": "#777777"}
MARKERS = {"probe": "o", "fine_tune": "s", "from scratch": "^"}
PLOT = Path(__file__).with_name("label_efficiency.svg")


@dataclass(frozen=True)
class Curve:
    """Test accuracies of one pack: by labels per class, then by method, one a draw."""

    pack: str
    test_items: int
    accuracies: dict[int, dict[str, list[float]]]


def drawn(rows: Sequence[Mapping[str, Any]], labels: int, draw: int) -> list[str]:
    """The side of every row: `labels` training items of each class by this draw, the test items, the rest left out.

    Raises:
        ValueError: a class has fewer items beside the test set.
    """
    generator = np.random.default_rng(draw)
    sides = ["test" if row["side"] == "test" else "left_out" for row in rows]
    for label in sorted({row["label"] for row in rows}):
        places = [p for p, row in enumerate(rows) if row["label"] == label and row["side"] in ("train", "validation")]
        if len(places) < labels:
            raise ValueError(f"{label} has {len(places)} items beside the test set, {labels} are wanted")
        for place in generator.permutation(places)[:labels]:
            sides[int(place)] = "train"
    return sides


def deal(splits: pa.Table, labels: int, draw: int) -> pa.Table:
    """The table of stage split with these sides."""
    sides = drawn(splits.to_pylist(), labels, draw)
    reasons = ["benchmark" if side == "left_out" else None for side in sides]
    for name, values in (("side", sides), ("reason", reasons)):
        place = splits.schema.get_field_index(name)
        splits = splits.set_column(place, splits.schema.field(name), pa.array(values, splits.schema.field(name).type))
    return splits


def adapted(made: FreshWorkspace, splits: pa.Table, labels: int, draw: int) -> Told:
    """Run adapt and evaluate on a draw; the accuracy of each method."""
    pq.write_table(deal(splits, labels, draw), made.workspace.splits)
    done = made.stage("adapt")
    made.stage("evaluate")
    report = json.loads(made.workspace.evaluation.read_text(encoding="utf-8"))
    found = {baseline["name"]: baseline["accuracy"]["value"] for baseline in report["baselines"]}
    return {
        "fine_tune": report["accuracy"]["value"],
        "probe": found["linear_probe"],
        "from scratch": found["from_scratch"],
        "test_items": report["test_items"],
        "adapt_seconds": done.seconds,
        "adapt_cpu_seconds": done.cpu_seconds,
    }


def measure(pack: Pack, arguments: argparse.Namespace, kept: KeptRuns) -> Curve:
    """All draws of a pack; a workspace is only made where one is missing."""
    keys: dict[tuple[int, int], Key] = {
        (labels, draw): {"pack": pack.name, "labels": labels, "draw": draw, "sets": " ".join(arguments.sets)}
        for draw in range(arguments.draws)
        for labels in arguments.labels
    }
    if any(kept.find(key) is None for key in keys.values()):
        with tempfile.TemporaryDirectory() as folder:
            run_missing(pack, keys, arguments, kept, Path(folder))
    told = {place: kept.find(key) or {} for place, key in keys.items()}
    found = {
        labels: {method: [told[labels, draw][method] for draw in range(arguments.draws)] for method in METHODS}
        for labels in arguments.labels
    }
    return Curve(pack.name, next(iter(told.values()))["test_items"], found)


def run_missing(
    pack: Pack, keys: Mapping[tuple[int, int], Key], arguments: argparse.Namespace, kept: KeptRuns, folder: Path
) -> None:
    """Measure the draws that are not kept yet."""
    setting: Setting = setting_of(pack, arguments.weights.resolve(), folder, arguments.threads)
    with split_workspace(pack, setting, exported_graph(setting, folder / "graph")) as made:
        command = [sys.executable, "-m", "benchmarks.prepared_workspace", setting.data, *setting.overrides]
        sets = ["adapt.method.name=fine_tune", "adapt.keep_best=false", "adapt.from_scratch=always", *arguments.sets]
        timed([*command, *sets], made.root, made.environment)
        splits = pq.read_table(made.workspace.splits)
        for (labels, draw), key in keys.items():
            told = kept.run(key, partial(adapted, made, splits, labels, draw))
            shown = ", ".join(f"{method} {told[method]:.3f}" for method in METHODS)
            print(f"{pack.name}, {labels} a class, draw {draw}: {shown}", file=sys.stderr, flush=True)


def table(curves: Sequence[Curve]) -> str:
    """One row a pack and number of labels."""
    rows = [
        [f"{curve.pack}, {labels} a class", *(accuracies(by_method[method]) for method in METHODS)]
        for curve in curves
        for labels, by_method in curve.accuracies.items()
    ]
    return markdown_table(["labels", *METHODS], rows)


def draw_plot(curves: Sequence[Curve], file: Path) -> None:
    """An SVG with one panel a pack: mean accuracy of each method, and its range over the draws."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "label efficiency", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(4.6 * len(curves), 3.6), layout="constrained")
        for axes, curve in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
            labels = list(curve.accuracies)
            for method in METHODS:
                values = np.array([curve.accuracies[count][method] for count in labels])
                axes.fill_between(labels, values.min(axis=1), values.max(axis=1), color=COLOURS[method], alpha=0.15)
                axes.plot(labels, values.mean(axis=1), color=COLOURS[method], marker=MARKERS[method], label=method)
            axes.set_xscale("log")
            axes.set_xticks(labels, [str(count) for count in labels], minor=False)
            axes.minorticks_off()
            axes.set_title(f"{curve.pack} ({curve.test_items} test items)", fontsize=10)
            axes.set_xlabel("labels per class")
            axes.set_ylabel("test accuracy")
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(file, format="svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 5, 10, 20, 50])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of Graft's stages; 0: every core")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="section.key=value, in every draw")
    parser.add_argument("--kept", type=Path, required=True, help="a JSON-lines file of the runs")
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    print(warn_of_uncommitted(), file=sys.stderr)
    curves = [measure(Pack(folder.resolve()), arguments, KeptRuns(arguments.kept)) for folder in arguments.packs]
    draw_plot(curves, arguments.plot)
    words = f"Test accuracy, mean (range) of {arguments.draws} draws of the labels, mobilenet_v2, {machine()}." + (
        f" With {', '.join(arguments.sets)}." if arguments.sets else ""
    )
    picture = f"![Test accuracy against labels per class]({arguments.plot.name})"
    keep_section("label efficiency", "\n\n".join([words, picture, table(curves)]), arguments.results)
    print(table(curves))


if __name__ == "__main__":
    main()
