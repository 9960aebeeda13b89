"""Several processes share each batch and end with one outcome, the one that a single process has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("training_processes.py")


def run(folder: Path, *launcher: str) -> None:
    paths = os.pathsep.join(str(path) for path in (PROGRAM.parents[2], PROGRAM.parents[1], PROGRAM.parent))
    done = subprocess.run(
        [sys.executable, *launcher, str(PROGRAM), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_end_with_the_bits_of_each_other_and_the_figures_of_one(tmp_path: Path) -> None:
    run(tmp_path, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    run(tmp_path)
    first, second, alone = (read(tmp_path / f"{name}.json") for name in ("0", "1", "alone"))
    assert first == second
    assert first["losses"] == pytest.approx(alone["losses"], abs=1e-4)
    assert first["chosen"] == alone["chosen"]
    assert len(list(tmp_path.glob("*/outcome.pt"))) == 2


def read(path: Path) -> Any:
    return json.loads(path.read_text())
