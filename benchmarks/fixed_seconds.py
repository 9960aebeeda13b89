"""Where the seconds go that do not grow with the data: process starts, imports and DVC, by stage.

    python -m benchmarks.fixed_seconds DOGS_CATS --weights MOBILENET_V2.pth [--rounds 5]

Runs the corridor once, then measures in the finished workspace: every import as a process of its own less an empty one;
DVC as `dvc repro --single-item` of a stage that is up to date; every stage bare.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from benchmarks.fresh_workspace import FreshWorkspace, Setting, fresh_workspace, warn_of_uncommitted
from benchmarks.rounds import (
    command_line,
    conditions,
    interleaved,
    keep_section,
    load_now,
    markdown_table,
    median_of,
    timed,
)
from tasks.workspace import STAGES

LIBRARIES = (
    "numpy",
    "pydantic",
    "ruamel.yaml",
    "pyarrow.parquet",
    "PIL.Image",
    "pandas",
    "scipy.optimize",
    "sklearn.linear_model",
    "onnx",
    "onnxruntime",
    "great_expectations",
    "jinja2",
    "dvc.cli.parser, dvc.repo",
    "prefect",
    "torch",
    "torch, torchvision",
)
SHOW_HEAVY = """
import runpy, sys
try:
    runpy.run_module("tasks.{stage}", run_name="__main__")
finally:
    heavy = [name for name in {names!r} if name in sys.modules]
    print("heavy:" + " ".join(heavy))
"""
STAGE_HEADER = (
    "stage",
    "in the corridor",
    "DVC with nothing to do",
    "python",
    "its modules",
    "lazy imports and work",
    "heavy libraries it loads",
)
HEAVY = ("great_expectations", "onnxruntime", "onnx", "pandas", "scipy", "sklearn", "jinja2", "matplotlib", "torch")


def python_seconds(made: FreshWorkspace, code: str) -> float:
    """Wall seconds of `python -c CODE` in the workspace."""
    return timed([sys.executable, "-c", code], made.root, made.environment).seconds


def loaded_libraries(made: FreshWorkspace, stage: str) -> str:
    """Which heavy libraries a stage's process has loaded when it ends."""
    made.forget_features()
    code = SHOW_HEAVY.format(stage=stage, names=HEAVY)
    line = timed([sys.executable, "-c", code], made.root, made.environment).stdout.splitlines()[-1]
    return line.removeprefix("heavy:") or "none"


def measure_imports(made: FreshWorkspace, rounds: int) -> dict[str, float]:
    """Median wall seconds of an empty process (`pass`) and, beyond it, of every import."""
    names = [*LIBRARIES, *(f"tasks.{stage}" for stage in STAGES)]
    codes = {"pass": "pass"} | {name: f"import {name}" for name in names}
    found = interleaved({name: partial(python_seconds, made, code) for name, code in codes.items()}, rounds)
    empty = median_of(found["pass"])
    return {"pass": empty} | {name: median_of(found[name]) - empty for name in names}


def import_table(imports: dict[str, float]) -> str:
    """One row a process start or import."""
    rows = [["python itself", f"{imports['pass']:.2f}"]]
    rows += [[f"`import {name}`", f"{imports[name]:.2f}"] for name in LIBRARIES]
    return markdown_table(["process", "wall seconds"], rows)


def bare_seconds(made: FreshWorkspace, stage: str) -> float:
    """One bare run with nothing in the feature cache."""
    made.forget_features()
    return made.stage(stage).seconds


def stage_row(made: FreshWorkspace, stage: str, whole: float, imports: dict[str, float], rounds: int) -> list[str]:
    """What a stage took in the corridor, and how much of that is not its work."""
    repro = partial(made.dvc, "repro", "--single-item", stage)
    unchanged = median_of(done.seconds for done in interleaved({"dvc": repro}, rounds)["dvc"])
    bare = [bare_seconds(made, stage) for _ in range(rounds)]
    rest = median_of(bare) - imports["pass"] - imports[f"tasks.{stage}"]
    figures = [whole, unchanged, imports["pass"], imports[f"tasks.{stage}"], rest]
    return [stage, *(f"{value:.2f}" for value in figures), loaded_libraries(made, stage)]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.set_defaults(rounds=5)
    arguments = parser.parse_args()
    print(warn_of_uncommitted(), file=sys.stderr)
    load, setting = load_now(), Setting(arguments.pack.resolve(), arguments.weights.resolve())
    with fresh_workspace() as made:
        whole = made.adapt(setting).stages
        imports = measure_imports(made, arguments.rounds)
        rows = [stage_row(made, stage, whole[stage], imports, arguments.rounds) for stage in STAGES]
    text = "\n\n".join(
        [
            conditions(arguments.rounds, load),
            import_table(imports),
            setting.data.name + ":",
            markdown_table(STAGE_HEADER, rows),
        ]
    )
    keep_section("fixed seconds", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
