"""One console script for two programs that install without each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKED = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["graft", *{arguments}]
from flows.entry import main
main()
"""


def graft(*arguments: str, absent: tuple[str, ...] = (), cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the console script's function where some libraries are not installed."""
    code = BLOCKED.format(absent=absent, arguments=arguments)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, cwd=cwd, env=environment
    )


def test_serve_is_the_servers_program() -> None:
    done = graft("serve", "--help", absent=("typer", "prefect", "dvc", "torch"))
    assert done.returncode == 0, done.stderr
    assert "usage: graft serve" in done.stdout
    assert "--release" in done.stdout


@pytest.mark.parametrize("arguments", [("adapt",), ("--help",), ()])
def test_without_the_pipeline_every_other_command_names_what_is_missing_in_one_line(arguments: tuple[str, ...]) -> None:
    done = graft(*arguments, absent=("typer", "prefect"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'graft[pipeline]'" in done.stderr


def test_a_folder_of_the_caller_named_like_ours_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "__init__.py").write_text("raise SystemExit('the caller\\'s own')", encoding="utf-8")
    done = graft("serve", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage: graft serve" in done.stdout


def test_without_the_servers_libraries_serve_names_what_is_missing_in_one_line(tmp_path: Path) -> None:
    code = BLOCKED.replace("from flows.entry import main", "from deploy.server import main")
    done = subprocess.run(
        [sys.executable, "-c", code.format(absent=("uvloop", "fastapi"), arguments=("--port", "0", "--workers", "1"))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'graft[serve]'" in done.stderr
