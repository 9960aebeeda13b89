"""As the image and the unit run it: nothing to write but /dev/shm, no capabilities, no executable memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving_scene import REPOSITORY, serving
from small_release import photo

NOBODY = 10001
READ_ONLY = """
set -e
mount --make-rprivate /
for place in $(awk '$2 !~ "^/(proc|sys|dev)" {print $2}' /proc/mounts); do
    mount -o remount,bind,ro "$place" 2>/dev/null || true
done
mount -t tmpfs -o size=64m tmpfs /dev/shm
if touch "$1/written" 2>/dev/null; then echo "still writable" >&2; exit 3; fi
shift
exec "$@"
"""
NO_EXECUTABLE_MEMORY = (
    "import ctypes, os, sys; assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0; os.execv(sys.argv[1], sys.argv[1:])"
)
"""PR_SET_MDWE of Linux 6.3, what systemd's MemoryDenyWriteExecute uses."""


def needs_root_and(*tools: str) -> None:
    if os.geteuid() != 0 or not all(shutil.which(tool) for tool in tools):
        pytest.skip(f"needs root, {', '.join(tools)}")
    if subprocess.run(["unshare", "--mount", "mount", "--make-rprivate", "/"], capture_output=True).returncode:
        pytest.skip("this machine allows no mounts of one's own")


def status_of(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def may_be_read_by_others(*places: Path) -> bool:
    """Whether every folder on the way to these can be entered by a user who owns none of them."""
    return all(folder.stat().st_mode & 0o005 == 0o005 for place in places for folder in place.parents)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_answers_with_nothing_to_write_and_no_rights(release: Path, tmp_path: Path, workers: str) -> None:
    needs_root_and("unshare", "setpriv", "mount")
    dropped = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    if may_be_read_by_others(Path(sys.executable).resolve(), REPOSITORY / "deploy", release):
        dropped += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    wrapped = ("unshare", "--mount", "bash", "-c", READ_ONLY, "bash", str(tmp_path), *dropped)
    server_command = (*wrapped, sys.executable, "-m", "deploy.server", "--release", str(release))
    with serving(tmp_path, "--workers", workers, command=server_command, PYTHONPATH=str(REPOSITORY)) as server:
        assert server.predict(photo())["predictions"]
        assert b"graft_requests_total" in server.ask("/metrics")[1]
        found = status_of(server.process.pid)
        assert (found["CapEff"].strip("0"), found["CapBnd"].strip("0"), found["NoNewPrivs"]) == ("", "", "1")
    assert server.code == 0


def test_a_server_answers_where_no_memory_may_become_executable(release: Path, tmp_path: Path) -> None:
    trial = [sys.executable, "-c", NO_EXECUTABLE_MEMORY, shutil.which("true") or "/bin/true"]
    if subprocess.run(trial, capture_output=True).returncode:
        pytest.skip("this kernel knows no PR_SET_MDWE")
    command = (sys.executable, "-c", NO_EXECUTABLE_MEMORY, sys.executable, "-m", "deploy.server")
    with serving(tmp_path, "--release", str(release), command=command) as server:
        assert server.predict(photo())["predictions"]
    assert server.code == 0
