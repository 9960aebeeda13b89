"""What the flow costs over the bare stages, a run in which nothing changed, and a run with ten new photos.

    python -m benchmarks.flow_overhead HYMENOPTERA DOGS_CATS --weights MOBILENET_V2.pth [--rounds 3]

On the first pack: `graft adapt`, plain `dvc repro` and the nine `python -m tasks.STAGE` in order, each in a fresh
workspace with the backbone's graph there, and `graft adapt` again with nothing changed. On the second: a run without
ten of its photos, then the same workspace with them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fresh_workspace import Adapted, Setting, exported_graph, fresh_workspace, warn_of_uncommitted
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
from tasks.workspace import STAGES

NEW_PHOTOS = 10


@dataclass(frozen=True)
class Growth:
    """The run without the new photos, and the one with them."""

    first: Adapted
    grown: Adapted


class Overhead:
    """The ways to run one setting; every call takes a fresh workspace that has the backbone's graph."""

    def __init__(self, setting: Setting, graph: Path) -> None:
        self.setting, self.graph = setting, graph
        self.nothing_changed: list[float] = []

    def flow(self) -> float:
        """Wall seconds of `graft adapt`; the same command again is noted in `nothing_changed`.

        Raises:
            RuntimeError: the second run found something to do.
        """
        with fresh_workspace(self.graph) as made:
            first, again = made.adapt(self.setting), made.adapt(self.setting)
            if not again.unchanged:
                raise RuntimeError("the second run of `graft adapt` found something to do")
            self.nothing_changed.append(again.wall)
            return first.wall

    def dvc_repro(self) -> float:
        """Wall seconds of one `dvc repro` of everything."""
        with fresh_workspace(self.graph) as made:
            made.prepare(self.setting)
            return made.dvc("repro").seconds

    def bare_stages(self) -> float:
        """Wall seconds of the stages one after another, without DVC and Prefect."""
        with fresh_workspace(self.graph) as made:
            made.prepare(self.setting)
            return sum(made.stage(stage).seconds for stage in STAGES)


def grow(setting: Setting, graph: Path) -> Growth:
    """Adapt to a copy of the pack that lacks ten photos, then to the whole."""
    with fresh_workspace(graph) as made, tempfile.TemporaryDirectory() as folder:
        photos = Path(folder).resolve() / setting.data.name
        copy_photos(setting.data, photos)
        held_back = hold_back(photos, Path(folder), NEW_PHOTOS)
        part = Setting(photos, setting.weights, setting.backbone)
        first = made.adapt(part)
        for away, home in held_back:
            shutil.move(away, home)
        return Growth(first, made.adapt(part))


def copy_photos(pack: Path, folder: Path) -> None:
    """The class folders of a pack, writable whatever the pack's own modes are."""
    for file in sorted(pack.glob("*/*.jpg")):
        (folder / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / file.parent.name / file.name)


def hold_back(photos: Path, folder: Path, count: int) -> list[tuple[Path, Path]]:
    """Move `count` photos, spread over the pack, into `folder`; returns where each lies and where it belongs."""
    files = sorted(photos.glob("*/*.jpg"))
    chosen = files[:: max(1, len(files) // count)][:count]
    moved = [(folder / f"held-back-{number}.jpg", file) for number, file in enumerate(chosen)]
    for away, home in moved:
        shutil.move(home, away)
    return moved


def overhead_table(found: dict[str, list[float]], nothing_changed: list[float]) -> str:
    """One row a way to run."""
    bare = found["the stages alone"]
    rows = [[name, spread(seconds), f"{median_ratio(seconds, bare):.2f}"] for name, seconds in found.items()]
    rows.append(
        ["`graft adapt`, nothing changed", spread(nothing_changed), f"{median_ratio(nothing_changed, bare):.2f}"]
    )
    return markdown_table(["", "wall seconds, median (range)", "against the stages alone"], rows)


def growth_table(growths: list[Growth]) -> str:
    """The first run and the grown one, with the stages that are the point."""
    first, grown = [one.first for one in growths], [one.grown for one in growths]
    rows = []
    for name, runs in (("first run", first), (f"{NEW_PHOTOS} new photos", grown)):
        embed = median_of(run.stages["embed"] for run in runs)
        stages = [run.stage_seconds for run in runs]
        base = [run.stage_seconds for run in first]
        wall = spread([run.wall for run in runs])
        rows.append([name, f"{embed:.1f}", spread(stages), f"{median_ratio(stages, base):.2f}", wall])
    return markdown_table(["", "embed, s", "all stages, s", "against the first run", "whole command, s"], rows)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("pack", type=Path, help="for the overhead")
    parser.add_argument("growing", type=Path, help="for the new photos: a pack of class folders")
    parser.add_argument("--weights", type=Path, required=True)
    arguments = parser.parse_args()
    print(warn_of_uncommitted(), file=sys.stderr)
    load, weights = load_now(), arguments.weights.resolve()
    setting, growing = Setting(arguments.pack.resolve(), weights), Setting(arguments.growing.resolve(), weights)
    with tempfile.TemporaryDirectory() as folder:
        graph = exported_graph(setting, Path(folder) / "graph")
        ways = Overhead(setting, graph)
        cases = {"the stages alone": ways.bare_stages, "`dvc repro`": ways.dvc_repro, "`graft adapt`": ways.flow}
        found = interleaved(cases, arguments.rounds)
        growths = interleaved({"growth": lambda: grow(growing, graph)}, arguments.rounds)["growth"]
    text = "\n\n".join(
        [
            conditions(arguments.rounds, load),
            f"{setting.data.name}:",
            overhead_table(found, ways.nothing_changed),
            f"{growing.data.name}, {NEW_PHOTOS} photos held back at first:",
            growth_table(growths),
        ]
    )
    keep_section("overhead", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
