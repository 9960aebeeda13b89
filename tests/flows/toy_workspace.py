"""A throw-away workspace of three toy stages, with its own git and DVC, for everything that kills processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from flows.stage_process import StageResult, run_stage_process
from flows.workspace_lock import workspace_lock
from tasks.digests import file_sha256
from tasks.workspace import Workspace

Found = TypeVar("Found")

STAGES = ("one", "two", "three")

STAGE_SCRIPT = '''
"""One toy stage: reads SOURCE, works for a while, writes TARGET and its outcome as a real stage does."""
import json, os, signal, subprocess, sys, time
from pathlib import Path

stage, source, target = sys.argv[1:]
run_id = os.environ["GRAFT_RUN_ID"]
mode = os.environ.get(f"TOY_{stage}", "work")


def outcome(state, *reasons, internal=False):
    path = Path(f"reports/outcome-{stage}.json")
    path.parent.mkdir(exist_ok=True)
    content = {"schema_version": 1, "stage": stage, "run_id": run_id, "state": state, "reasons": reasons}
    path.write_text(json.dumps({**content, "internal": internal}))


def work(seconds):
    with open(target, "w") as file:
        for step in range(10):
            print(f"{stage} step {step}", flush=True)
            file.write(Path(source).read_text() + f"{stage} {step}\\n")
            file.flush()
            time.sleep(seconds / 10)


if mode == "hang":
    work(0.1)
    print("hanging", flush=True)
    time.sleep(600)
elif mode == "scatter":
    child = [sys.executable, "-c", "import time; time.sleep(600)"]
    subprocess.Popen(child, start_new_session=True)
    print("hanging", flush=True)
    time.sleep(600)
elif mode == "gorge":
    held = bytearray(b"x") * int(400e6)
    print("gorged", flush=True)
    time.sleep(600)
elif mode == "threads":
    print("threads", os.environ.get("OMP_NUM_THREADS"), os.environ.get("OPENBLAS_NUM_THREADS"), flush=True)
    work(0)
    outcome("done")
elif mode == "refuse":
    outcome("refused", "too few items", "too many classes")
    sys.exit(1)
elif mode == "fail":
    outcome("failed", "ValueError: seven", internal=True)
    sys.exit(1)
elif mode == "crash":
    print("the last words", flush=True)
    sys.exit(3)
elif mode == "die":
    os.kill(os.getpid(), signal.SIGKILL)
elif mode == "forget":
    outcome("done")
elif mode == "babble":
    sys.stdout.buffer.write(b"caf\\xe9 \\xff\\n10%\\r50%\\r100%\\n\\x1b[32mgreen\\x1b[0m\\nno line's end")
    sys.stdout.flush()
    work(0)
    outcome("done")
else:
    print("python is", sys.executable, flush=True)
    work(float(os.environ.get("TOY_SECONDS", "0.1")))
    outcome("done")
'''

DRIVER = """
import json, sys
from pathlib import Path
from flows.stage_process import run_stage_process
from flows.workspace_lock import workspace_lock
from tasks.errors import GraftError
from tasks.workspace import Workspace

workspace, run_id = Workspace(Path(sys.argv[1])), sys.argv[2]
try:
    with workspace_lock(workspace, run_id) as mended:
        print(*mended, "locked", sep="\\n", flush=True)
        for stage in sys.argv[3:]:
            result = run_stage_process(workspace, stage, run_id, 60, lambda line: print(line, flush=True))
            print("result", stage, result.state, flush=True)
except GraftError as err:
    sys.exit(str(err))
"""


@dataclass(frozen=True)
class Toy:
    """The toy workspace and what tests do with it."""

    workspace: Workspace

    @classmethod
    def copy(cls, template: Path, root: Path) -> Toy:
        shutil.copytree(template, root, symlinks=True)
        return cls(Workspace(root))

    @property
    def root(self) -> Path:
        return self.workspace.root

    def run(self, stage: str = "one", run_id: str = "run", timeout_seconds: float = 60.0, **more: Any) -> StageResult:
        """One stage in this process, under the lock."""
        on_line: Callable[[str], None] = more.pop("on_line", lambda line: None)
        with workspace_lock(self.workspace, run_id):
            return run_stage_process(self.workspace, stage, run_id, timeout_seconds, on_line, **more)

    def drive(self, run_id: str = "driven", *stages: str) -> subprocess.Popen[str]:
        """All stages, or the named ones, in a process of their own: something to kill."""
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(self.root), run_id, *(stages or STAGES)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def digests(self) -> dict[str, str]:
        """sha256 of every out and of dvc.lock."""
        names = [*(f"data/{stage}.txt" for stage in STAGES), "dvc.lock"]
        return {name: file_sha256(self.root / name) for name in names}

    def processes(self) -> list[psutil.Process]:
        """Every living process that works in the workspace's folder, whoever started it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.cwd() == str(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def process(self, *words: str) -> psutil.Process:
        """The process whose arguments hold all of `words`; waits for it."""
        return wait_for(lambda: next((p for p in self.processes() if set(words) <= set(_arguments(p))), None))

    def is_deserted(self, seconds: float = 8.0) -> bool:
        """True once no process works in the workspace any more."""
        deadline = time.monotonic() + seconds
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def wait_for(look: Callable[[], Found | None], seconds: float = 20.0) -> Found:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing found within {seconds} s")


def _arguments(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []
