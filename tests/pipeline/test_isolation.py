"""Runs in worktrees through the real stages: at once as one after the other, and with next to no room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from desk import Desk, make_desk
from PIL import Image

from flows.dvc_commands import ensure_dvc, run_dvc
from flows.run_claims import worktrees_folder

RUN = """
import json, sys
from pathlib import Path
from flows.desk import prepare_data
from flows.inputs import write_inputs
from flows.params_file import edited_params, parse_override
from flows.raw_copies import bring_raw_data
from flows.stage_process import run_stage_process
from flows.worktrees import run_workspace
from tasks.digests import file_sha256

home, run_id, stages, *changes = sys.argv[1:]
with run_workspace(Path(home), "HEAD", run_id) as workspace:
    edited = edited_params(workspace, [parse_override(text, workspace, Path.cwd()) for text in changes])
    if edited.diff:
        edited.keep()
    bring_raw_data(workspace, edited.params)
    prepare_data(workspace, edited.params)
    write_inputs(workspace, edited.params)
    print("ready", flush=True)
    sys.stdin.readline()
    log = (Path(home).parent / f"{run_id}.log").open("w")
    for stage in stages.split(","):
        result = run_stage_process(workspace, stage, run_id, 500, lambda line: print(line, file=log, flush=True))
        if result.state not in ("done", "unchanged"):
            sys.exit(f"{stage} {result.state}: {result.reasons}")
    outs = [workspace.dvc_lock, workspace.release / "manifest.json", workspace.qualification]
    print(json.dumps({file.name: file_sha256(file) for file in outs if file.is_file()}))
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
EVERY_STAGE = "validate,embed,split,review,adapt,evaluate,gate,export,qualify"
SETTINGS = {
    "plain": [],
    "other-sides": ["split.seed=7", "split.test_share=0.3"],
    "other-size": ["backbone.preprocess.crop=28"],
}


def committed_desk(folder: Path) -> Desk:
    """A desk with its data under DVC and everything committed."""
    folder.mkdir(parents=True)
    desk = make_desk(folder)
    ensure_dvc(desk.workspace)
    commit_data(desk)
    return desk


def commit_data(desk: Desk) -> None:
    run_dvc(desk.workspace, "add", "--quiet", "data/raw")
    for arguments in (
        ["add", "--all"],
        ["-c", "user.name=ann", "-c", "user.email=a@b", "commit", "--quiet", "-m", "x"],
    ):
        subprocess.run(["git", *arguments], cwd=desk.root, check=True)


def start(desk: Desk, run_id: str, changes: list[str], stages: str = EVERY_STAGE) -> subprocess.Popen[str]:
    """A run in a process of its own; it waits for a line before its first stage."""
    environment = {name: value for name, value in desk.environment().items() if name != "GRAFT_CACHE_DIR"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(desk.root), run_id, stages, *changes],
        cwd=desk.root,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ready(run: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert run.stdout is not None
    seen = []
    for line in run.stdout:
        seen.append(line)
        if line == "ready\n":
            return run
    raise AssertionError("".join(seen))


def digests(run: subprocess.Popen[str]) -> dict[str, str]:
    """What the run made, once it was let go."""
    told, _ = run.communicate("go\n", timeout=1500)
    assert run.returncode == 0, told
    found: dict[str, str] = json.loads(told.splitlines()[-1])
    return found


def let_go(runs: list[subprocess.Popen[str]]) -> None:
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()


def test_three_runs_at_once_make_what_they_make_one_after_the_other(tmp_path: Path) -> None:
    alone, together = (committed_desk(tmp_path.resolve() / name) for name in ("alone", "together"))
    one_by_one = {name: digests(ready(start(alone, name, changes))) for name, changes in SETTINGS.items()}
    runs = {name: start(together, name, changes) for name, changes in SETTINGS.items()}
    let_go([ready(run) for run in runs.values()])
    at_once = {name: digests(run) for name, run in runs.items()}
    assert at_once == one_by_one
    assert len({str(found) for found in at_once.values()}) == 3
    assert {len(found) for found in at_once.values()} == {3}
    assert [path.name for path in worktrees_folder(together.root).iterdir()] == [".lock"]


def test_runs_of_the_same_settings_at_once_make_the_same_release(tmp_path: Path) -> None:
    desk = committed_desk(tmp_path.resolve() / "desk")
    runs = [ready(start(desk, f"same{number}", [])) for number in range(3)]
    let_go(runs)
    first, *others = [digests(run) for run in runs]
    assert others == [first, first]


def room(folder: Path) -> int:
    """Bytes on disk, each inode once."""
    entries = [folder, *folder.rglob("*")]
    return sum({(stat.st_dev, stat.st_ino): stat.st_blocks * 512 for stat in map(os.lstat, entries)}.values())


def test_validating_two_hundred_megabytes_in_a_worktree_takes_under_two_percent_of_it(tmp_path: Path) -> None:
    desk = committed_desk(tmp_path.resolve() / "desk")
    generator = np.random.default_rng(5)
    for number in range(200):
        pixels = generator.integers(0, 256, (590, 590, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(desk.workspace.raw / "ember" / f"noise{number}.png", compress_level=1)
    size = sum(file.stat().st_size for file in desk.workspace.raw.rglob("*.png"))
    assert size > 200_000_000
    commit_data(desk)
    before = room(desk.root)
    for run_id in ("first", "second"):
        run = ready(start(desk, run_id, [], stages="validate"))
        assert room(desk.root) - before < 0.02 * size
        digests(run)
        assert room(desk.root) - before < 0.02 * size
