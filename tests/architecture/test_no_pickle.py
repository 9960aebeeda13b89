"""No file that is read can run code: nothing imports pickle or what wraps it, and no reader of arrays allows it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICKLERS = {"yaml", "pickle", "cPickle", "_pickle", "pickle5", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
HARMLESS = {"UnpicklingError"}
"""What torch.load raises of a damaged file."""
SOURCES = sorted(
    path for folder in ("benchmarks", "deploy", "flows", "tasks") for path in (ROOT / folder).rglob("*.py")
)


def faults_of(source: str) -> list[str]:
    """Where a source could run what a file says."""
    return [f"line {node.lineno}: {text}" for node in ast.walk(ast.parse(source)) for text in _faults(node)]  # type: ignore[attr-defined]


def _faults(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (one.name for one in node.names if one.name.partition(".")[0] in PICKLERS)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] in PICKLERS:
        yield from (one.name for one in node.names if one.name not in HARMLESS)
    elif isinstance(node, ast.Call):
        yield from _call_faults(node)


def _call_faults(call: ast.Call) -> Iterator[str]:
    named = {word.arg: word.value for word in call.keywords}
    name = ast.unparse(call.func)
    if name == "torch.load" and not _is(named.get("weights_only"), True):
        yield "torch.load without weights_only=True"
    if "allow_pickle" in named and not _is(named["allow_pickle"], False):
        yield f"{name} with allow_pickle"
    if name.endswith((".read_pickle", ".to_pickle")) or name in ("eval", "exec", "builtins.eval", "builtins.exec"):
        yield name
    if name.endswith("YAML") and _is(named.get("typ"), "unsafe"):
        yield f"{name} that makes objects of any kind"


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_reads_what_could_run_code(path: Path) -> None:
    assert faults_of(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, joblib.memory",
        "from dill import loads",
        "from pickle import Unpickler",
        "import yaml",
        "def late():\n    from cloudpickle import load",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file, allow_pickle=True)",
        "np.save(file, rows, allow_pickle=chosen)",
        "pd.read_pickle(file)",
        "exec(text)",
        "YAML(typ='unsafe')",
    ],
)
def test_each_way_to_do_so_is_found(source: str) -> None:
    assert len(faults_of(source)) == 1


def test_what_is_safe_is_let_through() -> None:
    safe = ["import json", "from pickle import UnpicklingError", "torch.load(file, weights_only=True)"]
    safe += ["np.load(file, allow_pickle=False)", "YAML(typ='safe').load(text)"]
    assert faults_of("\n".join(safe)) == []
