"""Test accuracy of fine_tune over several seeds, against the linear probe and the PyTorch tutorial's recipe.

    python -m benchmarks.fine_tune_accuracy HYMENOPTERA DOGS_CATS --grouped SIGN_DIGITS --weights MOBILENET_V2.pth
        [--seeds 0 1 2 3 4] [--recipe-seeds 0 1 2] [--threads 0] [--kept runs.jsonl] [--set section.key=value ...]
        [--variant "section.key=value ..." ...]

Each pack is validated, embedded and split once; then stages adapt and evaluate run for every seed, with the product's
defaults but for `--set`; a `--variant` is measured beside them with settings of its own. `--grouped` packs are told as
a table with a group for each block of file numbers (file_blocks.py). The seed is of fine_tune alone: split and test
items stay. Runs that the file of `--kept` holds are not measured again, and processes may share it, each with seeds of
its own; a last one with all of them makes the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmarks.file_blocks import write_table
from benchmarks.fine_tune_race import FROZEN, TRAINED, run_recipe
from benchmarks.fresh_workspace import FreshWorkspace, Setting, exported_graph, fresh_workspace, warn_of_uncommitted
from benchmarks.kept_runs import KeptRuns, Key, Told
from benchmarks.rounds import RESULTS, keep_section, machine, markdown_table, timed
from tasks.intervals import Interval, paired_gain_interval

PROBE, FINE_TUNE = "probe", "fine_tune"
RESAMPLES = 10_000


@dataclass(frozen=True)
class Pack:
    """A folder of class folders; `grouped` ones are told as a table of file blocks."""

    folder: Path
    grouped: bool = False

    @property
    def name(self) -> str:
        return self.folder.name + (", grouped by file blocks" if self.grouped else "")


@dataclass(frozen=True)
class Found:
    """What a pack's runs told, by seed; `fine_tune` by settings beside the defaults, `recipes` by case."""

    pack: Pack
    probe: Told
    fine_tune: dict[str, dict[int, Told]]
    recipes: dict[str, dict[int, Told]]

    def right(self, told: Told) -> npt.NDArray[np.bool_]:
        """(test items,) whether a run is right, by path."""
        wrong = set(told["wrong"])
        return np.array([path not in wrong for path in sorted(self.probe["groups"])])

    @property
    def groups(self) -> list[str]:
        """The group of each test item, by path."""
        return [group for _, group in sorted(self.probe["groups"].items())]

    def gains(self, sets: str) -> list[tuple[float, float, float]]:
        """Gain over the probe and its paired interval, by seed."""
        probe = self.right(self.probe)
        return [paired_gain_interval(self.right(told), probe) for told in self.fine_tune[sets].values()]

    def mean_gain(self, sets: str) -> tuple[float, Interval]:
        """Mean gain of the seeds over the probe, and its interval over other test groups."""
        each = np.mean([self.right(told) for told in self.fine_tune[sets].values()], axis=0)
        difference = each - self.right(self.probe)
        return float(difference.mean()), resampled_mean(difference, self.groups)


def resampled_mean(
    values: npt.NDArray[np.float64], groups: Sequence[str], samples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """95% percentile interval of a mean, whole groups drawn with replacement.

    Items of one group are no independent evidence, nor is one item under several seeds: so values are an item's mean
    over the seeds, and what is drawn is groups.

    Args:
        values: (items,).
        groups: of each item.
    """
    names, place = np.unique(np.array(groups, dtype=str), return_inverse=True)
    sums, counts = np.bincount(place, values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(0, len(names), (samples, len(names)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


@contextmanager
def split_workspace(pack: Pack, setting: Setting, graph: Path) -> Iterator[FreshWorkspace]:
    """A fresh workspace in which the stages up to split have run."""
    with fresh_workspace(graph) as made:
        made.prepare(setting)
        for stage in ("validate", "embed", "split"):
            made.stage(stage)
        print(f"{pack.name}: split", file=sys.stderr, flush=True)
        yield made


def setting_of(pack: Pack, weights: Path, folder: Path, threads: int) -> Setting:
    """How the pack is told to Graft; a grouped one by a table in `folder`."""
    sets = (f"limits.threads={threads}",)
    if not pack.grouped:
        return Setting(pack.folder, weights, sets=sets)
    table = folder / f"{pack.folder.name}.csv"
    write_table(pack.folder, table)
    return Setting(table, weights, sets=(*sets, f"data.path={pack.folder}"))


def adapted(made: FreshWorkspace, setting: Setting, method: str, overrides: Sequence[str]) -> Told:
    """Run adapt and evaluate in a workspace that is split; what evaluate found."""
    command = [sys.executable, "-m", "benchmarks.prepared_workspace", setting.data, *setting.overrides]
    timed([*command, f"adapt.method.name={method}", *overrides], made.root, made.environment)
    done = made.stage("adapt")
    made.stage("evaluate")
    report: dict[str, Any] = json.loads((made.workspace.adapted / "adapted.json").read_text(encoding="utf-8"))
    predictions = pq.read_table(made.workspace.predictions).to_pylist()
    splits = pq.read_table(made.workspace.splits, columns=["path", "side", "group"]).to_pylist()
    training = report.get("training") or {}
    return {
        "accuracy": sum(row["label"] == row["predicted"] for row in predictions) / len(predictions),
        "wrong": [row["path"] for row in predictions if row["label"] != row["predicted"]],
        "groups": {row["path"]: row["group"] or row["path"] for row in splits if row["side"] == "test"},
        "method": report["method"],
        "best_epoch": training.get("best_epoch"),
        "judged_by": training.get("judged_by"),
        "against_probe": training.get("against_probe"),
        "adapt_seconds": done.seconds,
        "adapt_cpu_seconds": done.cpu_seconds,
    }


def keys_of(pack: Pack, arguments: argparse.Namespace) -> tuple[Key, dict[str, dict[int, Key]]]:
    """The key of the probe's run, and those of all others by settings or recipe, then by seed."""
    sets = " ".join(arguments.sets)
    variants = [sets, *(f"{sets} {variant}".strip() for variant in arguments.variant)]
    keys: dict[str, dict[int, Key]] = {
        variant: {
            seed: {"pack": pack.name, "case": FINE_TUNE, "seed": seed, "sets": variant} for seed in arguments.seeds
        }
        for variant in variants
    }
    for case in () if pack.grouped else (TRAINED, FROZEN):
        keys[case] = {seed: {"pack": pack.name, "case": case, "seed": seed} for seed in arguments.recipe_seeds}
    return {"pack": pack.name, "case": PROBE}, keys


def measure(pack: Pack, arguments: argparse.Namespace, kept: KeptRuns) -> Found:
    """All runs of a pack; a workspace is only made where one is missing."""
    probe, keys = keys_of(pack, arguments)
    wanted = [probe, *(key for seeds in keys.values() for key in seeds.values())]
    if any(kept.find(key) is None for key in wanted):
        with tempfile.TemporaryDirectory() as folder:
            run_missing(pack, arguments, kept, Path(folder))
    told = {case: {seed: _told(kept, key) for seed, key in seeds.items()} for case, seeds in keys.items()}
    recipes = {case: told.pop(case) for case in (TRAINED, FROZEN) if case in told}
    return Found(pack, _told(kept, probe), told, recipes)


def run_missing(pack: Pack, arguments: argparse.Namespace, kept: KeptRuns, folder: Path) -> None:
    """Measure the runs that are not kept yet, in one workspace."""
    probe, keys = keys_of(pack, arguments)
    setting = setting_of(pack, arguments.weights.resolve(), folder, arguments.threads)
    with split_workspace(pack, setting, exported_graph(setting, folder / "graph")) as made:
        made.write_sides(folder / "sides.csv")
        kept.run(probe, partial(adapted, made, setting, "linear_probe", []))
        for case, seeds in keys.items():
            for seed, key in seeds.items():
                if case in (TRAINED, FROZEN):
                    options = ["--freeze-batch-norm"] if case == FROZEN else []
                    told = kept.run(key, partial(run_recipe, setting, folder / "sides.csv", seed, *options))
                    accuracy = told["chosen"]["test"]
                else:
                    overrides = [f"adapt.method.seed={seed}", *case.split()]
                    accuracy = kept.run(key, partial(adapted, made, setting, "fine_tune", overrides))["accuracy"]
                print(f"{pack.name}, {case} seed {seed}: {accuracy:.4f}", file=sys.stderr, flush=True)


def _told(kept: KeptRuns, key: Key) -> Told:
    told = kept.find(key)
    if told is None:
        raise ValueError(f"the run of {key} was not kept")
    return told


def accuracies(values: Sequence[float]) -> str:
    """`mean (lowest to highest)`, three decimals.

    >>> accuracies([0.9, 0.96])
    '0.930 (0.900 to 0.960)'
    """
    mean = sum(values) / len(values)
    return f"{mean:.3f} ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else f"{mean:.3f}"


def table(found: list[Found]) -> str:
    """One row a pack and way."""
    rows = []
    for one in found:
        items = len(one.groups)
        rows.append([f"{one.pack.name}: probe", "1", f"{one.probe['accuracy']:.3f} of {items}", "", "", ""])
        for sets, seeds in one.fine_tune.items():
            gain, (low, high) = one.mean_gain(sets)
            gains = one.gains(sets)
            rows.append(
                [
                    f"{one.pack.name}: fine_tune" + (f", {sets}" if sets else ""),
                    str(len(seeds)),
                    accuracies([told["accuracy"] for told in seeds.values()]),
                    f"{gain:+.3f} ({low:+.3f} to {high:+.3f})",
                    f"{sum(seed_low > 0 for _, seed_low, _ in gains)} of {len(gains)}",
                    str(sum(told["method"] == "linear_probe" for told in seeds.values())),
                ]
            )
        for case, seeds in one.recipes.items():
            if seeds:
                chosen = accuracies([told["chosen"]["test"] for told in seeds.values()])
                rows.append([f"{one.pack.name}: {case}", str(len(seeds)), chosen, "", "", ""])
    header = [
        "",
        "seeds",
        "test accuracy, mean (range)",
        "mean gain over the probe (95%)",
        "seeds whose paired interval is above 0",
        "seeds that kept the probe",
    ]
    return markdown_table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", type=Path, nargs="*")
    parser.add_argument("--grouped", type=Path, nargs="*", default=[], help="packs to group by blocks of file numbers")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--recipe-seeds", type=int, nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=0, help="of Graft's stages; 0: every core")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="for fine_tune; section.key=value")
    parser.add_argument("--variant", action="append", default=[], help="settings of a second fine_tune, in one word")
    parser.add_argument("--kept", type=Path, required=True, help="a JSON-lines file of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    print(warn_of_uncommitted(), file=sys.stderr)
    packs = [Pack(folder.resolve()) for folder in arguments.packs]
    packs += [Pack(folder.resolve(), grouped=True) for folder in arguments.grouped]
    found = [measure(pack, arguments, KeptRuns(arguments.kept)) for pack in packs]
    note = (
        "fine_tune with its defaults but for what its row names. "
        "The interval of the mean gain draws whole groups of test items; a seed's own is Newcombe's for pairs. "
        "The recipe's epoch is chosen on validation."
    )
    text = "\n\n".join([f"On {machine()}.", table(found), note])
    keep_section("fine-tune accuracy", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
