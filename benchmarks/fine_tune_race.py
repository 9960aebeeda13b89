"""The PyTorch tutorial's recipe (tutorial_recipe.py) against the corridor, with the probe and with fine_tune.

    python -m benchmarks.fine_tune_race HYMENOPTERA [DOGS_CATS ...] --weights MOBILENET_V2.pth [--rounds 3]
        [--set adapt.method.blocks=6 ...] [--fastai VENV/bin/python] [--kept runs.jsonl]

Every round runs the corridor with the probe and with fine_tune, each in a fresh workspace with the backbone's ONNX
graph there, and the recipe with batch-norm trained and frozen; its seed is the round. The recipe learns from the
corridor's training photos, chooses its epoch on the corridor's validation photos and is judged on the same test photos.
A stage's seconds are the wall time of its process with DVC and imports, the recipe's those of its process.
`--fastai` names an interpreter that has fastai, whose fine_tune (fastai_fine_tune.py) then runs beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.fresh_workspace import Setting, exported_graph, fresh_workspace, warn_of_uncommitted
from benchmarks.kept_runs import KeptRuns, Key, Told
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

RECIPE = Path(__file__).with_name("tutorial_recipe.py")
FASTAI_SCRIPT = Path(__file__).with_name("fastai_fine_tune.py")
TRAINED, FROZEN = "recipe, batch-norm trained", "recipe, batch-norm frozen"
PROBE, FINE_TUNE = "corridor, probe", "corridor, fine_tune"
FASTAI = "fastai, fine_tune"
RECIPES, CORRIDORS = (TRAINED, FROZEN), (PROBE, FINE_TUNE)


@dataclass(frozen=True)
class Run:
    """One run. `to_chosen` is when the recipe had its chosen epoch, which it only knows at the end."""

    seconds: float
    to_chosen: float
    accuracy: float
    test_items: int

    @classmethod
    def of(cls, case: str, told: Told) -> Run:
        """What a case told; the recipe is judged by its chosen epoch, fastai by its last one."""
        if case in RECIPES:
            chosen, last = told["chosen"], told["epochs"][-1]
            return cls(last["seconds"], chosen["seconds"], chosen["test"], told["items"]["test"])
        seconds = told["seconds"] if case == FASTAI else sum(told["stages"].values())
        return cls(seconds, seconds, told["accuracy"], told["test_items"])


@dataclass(frozen=True)
class Race:
    """All rounds of one pack; the lists are parallel."""

    pack: str
    runs: dict[str, list[Run]]

    def seconds(self, case: str) -> list[float]:
        return [run.seconds for run in self.runs[case]]

    def accuracy(self, case: str) -> float:
        return sum(run.accuracy for run in self.runs[case]) / len(self.runs[case])

    def times_faster(self, case: str, recipe: str) -> float:
        """How many times the corridor's stage seconds go into the recipe's, median over the rounds."""
        return median_ratio(self.seconds(recipe), self.seconds(case))

    def times_faster_to_chosen(self, case: str, recipe: str) -> float:
        """The same against the moment at which the recipe had its chosen epoch."""
        return median_ratio([run.to_chosen for run in self.runs[recipe]], self.seconds(case))


def run_recipe(setting: Setting, sides: Path, seed: int, *options: str) -> Told:
    """One process of the recipe; what it printed, with the wall seconds of the process."""
    command = [sys.executable, RECIPE, setting.data, sides, setting.weights, "--seed", str(seed), *options]
    done = timed(command, sides.parent)
    told: Told = json.loads(done.stdout)
    return {**told, "wall": done.seconds}


def run_fastai(setting: Setting, sides: Path, seed: int, python: Path) -> Told:
    """One process of fastai's fine_tune by its own interpreter."""
    done = timed([python, FASTAI_SCRIPT, setting.data, sides, setting.weights, "--seed", str(seed)], sides.parent)
    told: Told = json.loads(done.stdout.splitlines()[-1])
    return {**told, "wall": done.seconds}


def run_corridor(setting: Setting, graph: Path, sets: list[str]) -> Told:
    """`graft adapt` in a fresh workspace."""
    with fresh_workspace(graph) as made:
        told = made.adapt(setting, [part for override in sets for part in ("--set", override)])
    return {"stages": told.stages, "wall": told.wall, "accuracy": told.accuracy, "test_items": told.test_items}


def race(setting: Setting, arguments: argparse.Namespace, kept: KeptRuns) -> Race:
    """All rounds of one pack, the cases in turn."""
    fine_tune = ["adapt.method.name=fine_tune", *arguments.sets]
    recipe = ["--workers", str(arguments.workers)]
    with tempfile.TemporaryDirectory() as folder:
        graph, sides = exported_graph(setting, Path(folder) / "graph"), Path(folder) / "sides.csv"
        write_split(setting, graph, sides)
        cases: dict[str, Callable[[int], Told]] = {
            PROBE: lambda seed: run_corridor(setting, graph, []),
            FINE_TUNE: lambda seed: run_corridor(setting, graph, fine_tune),
            TRAINED: lambda seed: run_recipe(setting, sides, seed, *recipe),
            FROZEN: lambda seed: run_recipe(setting, sides, seed, *recipe, "--freeze-batch-norm"),
        }
        if arguments.fastai:
            cases[FASTAI] = lambda seed: run_fastai(setting, sides, seed, arguments.fastai)
        runs: dict[str, list[Run]] = {case: [] for case in cases}
        for number in range(1, arguments.rounds + 1):
            for case, measure in cases.items():
                key: Key = {"pack": setting.data.name, "case": case, "round": number}
                key |= {"sets": " ".join(arguments.sets)} if case == FINE_TUNE else {}
                run = Run.of(case, kept.run(key, partial(measure, number - 1)))
                runs[case].append(run)
                shown = f"{run.seconds:.1f} s, accuracy {run.accuracy:.3f}"
                print(f"{setting.data.name} round {number}  {case}: {shown}", file=sys.stderr, flush=True)
    return Race(setting.data.name, runs)


def write_split(setting: Setting, graph: Path, sides: Path) -> None:
    """The split that the corridor makes of these photos; it is the same in every round."""
    with fresh_workspace(graph) as made:
        made.prepare(setting)
        for stage in ("validate", "embed", "split"):
            made.stage(stage)
        made.write_sides(sides)


def table(found: list[Race]) -> str:
    """One row a pack and way."""
    rows = []
    for one in found:
        for case, runs in one.runs.items():
            faster = [""] * 2
            if case in CORRIDORS:
                faster = [
                    " / ".join(f"{way(case, recipe):.1f}" for recipe in RECIPES)
                    for way in (one.times_faster, one.times_faster_to_chosen)
                ]
            rows.append(
                [
                    f"{one.pack}: {case}",
                    spread(one.seconds(case)),
                    f"{median_of(run.to_chosen for run in runs):.1f}",
                    *faster,
                    f"{one.accuracy(case):.3f} of {runs[0].test_items}",
                ]
            )
    header = [
        "",
        "seconds, median (range)",
        "to the chosen epoch, s",
        "times faster than the recipe, batch-norm trained / frozen",
        "than its way to the chosen epoch",
        "accuracy, mean",
    ]
    return markdown_table(header, rows)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("packs", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=0, help="of the recipe's DataLoader (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="for fine_tune; section.key=value")
    parser.add_argument("--fastai", type=Path, metavar="PYTHON", help="an interpreter that has fastai")
    parser.add_argument("--kept", type=Path, help="a JSON-lines file; runs that it holds are not measured again")
    arguments = parser.parse_args()
    print(warn_of_uncommitted(), file=sys.stderr)
    load = load_now()
    settings = [Setting(pack.resolve(), arguments.weights.resolve()) for pack in arguments.packs]
    kept = KeptRuns(arguments.kept)
    found = [race(setting, arguments, kept) for setting in settings]
    note = f"fine_tune with {', '.join(arguments.sets)}." if arguments.sets else "fine_tune with its defaults."
    text = "\n\n".join([conditions(arguments.rounds, load), table(found), note])
    keep_section("fine-tune race", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
