"""Graft as a user has it: a clone of this checkout in a folder of its own, driven by the command line."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_workspace import SETTINGS, add_pictures, change_params

from tasks.digests import file_sha256
from tasks.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


@dataclass(frozen=True)
class Desk:
    """A clone, with a Prefect home and a feature cache of its own."""

    root: Path
    home: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GRAFT_", "DVC_"))
        }
        places = {"PREFECT_HOME": str(self.home / "prefect"), "GRAFT_CACHE_DIR": str(self.home / "cache")}
        return {**kept, **QUIET, **places, **more}

    def graft(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=self.root,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=500,
        )

    def start(
        self, log: Path, *arguments: str, printed: Path | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start it in a session of its own, with all that it prints in `log`; stdout apart where `printed` is given."""
        with log.open("wb") as out, printed.open("wb") if printed else nullcontext(out) as stdout:
            return subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *arguments],
                cwd=self.root,
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=out,
                start_new_session=True,
            )

    def adapt(self, *arguments: str, **environment: str) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON object that is all of stdout, and stderr."""
        done = self.graft("adapt", "--json", *arguments, **environment)
        return done.returncode, json.loads(done.stdout), done.stderr

    def releases(self) -> list[Path]:
        """The folders of the release store."""
        return sorted(path for path in (self.root / "releases").iterdir() if not path.name.startswith("."))

    def dvc(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env=self.environment(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def copy(self, folder: Path) -> Desk:
        """The same desk elsewhere, DVC cache included."""
        shutil.copytree(self.root, folder / "clone", symlinks=True)
        shutil.copytree(self.home, folder / "home")
        return Desk(folder / "clone", folder / "home")

    def flow_runs(self) -> list[tuple[str, str, int]]:
        """(state name, state type, attempts) of every flow run of the embedded server, in order."""
        with sqlite3.connect(self.home / "prefect" / "prefect.db") as database:
            rows = database.execute(
                "select state_name, state_type, run_count from flow_run order by expected_start_time"
            )
            return [(str(name), str(kind), int(count)) for name, kind, count in rows]

    def results(self) -> dict[str, str]:
        """sha256 of all that a run makes which others may rest on."""
        files = [
            path
            for folder in (self.workspace.release, self.workspace.adapted, self.workspace.embeddings)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        files += [self.workspace.items, self.workspace.splits, self.workspace.predictions, self.workspace.verdict]
        return {path.relative_to(self.root).as_posix(): file_sha256(path) for path in files}


def make_desk(folder: Path, graphs_of: Desk | None = None) -> Desk:
    """Clone what this checkout holds now, with small pictures and params that fit them.

    With `graphs_of` the backbones that another desk exported are in the cache already; its features are not.
    """
    root, home = folder / "clone", folder / "home"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=REPOSITORY, capture_output=True, check=True
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (REPOSITORY / name).is_file() and not name.startswith(("tests/", "benchmarks/")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, root / name)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    home.mkdir()
    if graphs_of is not None:
        shutil.copytree(graphs_of.home / "cache" / "backbones", home / "cache" / "backbones")
    change_params(Workspace(root), SETTINGS)
    add_pictures(root / "data" / "raw", 40)
    return Desk(root, home)
