"""Many processes at once, and processes that are killed: one winner at a time, and pointer and history in step."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from registry_scene import Scene, environment, make_scene
from toy_workspace import wait_for

from flows.prod_pointer import read_prod
from flows.promotion import promote
from flows.settled_pointer import settle_pointer
from flows.store import store_lock
from tasks.errors import NotPromotable

MANY = 20

KILLED = """
import os, signal, sys
from flows import stage_change
from flows.cli import main
moment = sys.argv.pop(1)
write_prod = stage_change.write_prod
def killed(*arguments):
    if moment == "after":
        write_prod(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
stage_change.write_prod = killed
main()
"""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path.resolve())


def in_step(scene: Scene) -> None:
    """The history is linear, without gaps, and the pointer shows its end."""
    changes, shown = scene.history(), read_prod(scene.store)
    assert [change.number for change in changes] == list(range(1, len(changes) + 1))
    for before, after in pairwise(changes):
        assert (after.previous, after.previous_sha256) == (before.version, before.manifest_sha256)
    assert shown is not None
    assert (shown.number, shown.manifest_sha256) == (changes[-1].number, changes[-1].manifest_sha256)


def promoted_at_once(scene: Scene, force: bool = False) -> list[str]:
    """What each of twenty processes is told, empty where it promoted its version, v2 to v21."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flows.promotion", "flows.store", "tasks.release_run", "onnxruntime"])
    together, told = context.Barrier(MANY), context.Queue()
    processes = [
        context.Process(target=promote_one, args=(scene, number, force, together, told))
        for number in range(2, MANY + 2)
    ]
    for process in processes:
        process.start()
    answers = dict(told.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return [answers[number] for number in range(2, MANY + 2)]


def promote_one(scene: Scene, number: int, force: bool, together: Any, told: Any) -> None:
    """One process of many."""
    together.wait(120)
    try:
        promote(scene.workspace, scene.params, f"v{number}", "at once", f"person {number}", force)
        told.put((number, ""))
    except NotPromotable as err:
        told.put((number, str(err)))


@pytest.fixture
def crowded(scene: Scene) -> Scene:
    """One version in production, and twenty that were judged against it."""
    scene.publish(1)
    scene.promote("v1")
    for number in range(2, MANY + 2):
        scene.publish(number)
    return scene


def test_of_twenty_promotions_at_once_one_wins_and_the_others_are_told_by_whom(crowded: Scene) -> None:
    told = dict(enumerate(promoted_at_once(crowded), start=2))
    (winner,) = [number for number, fault in told.items() if not fault]
    in_step(crowded)
    assert [(change.version, change.forced) for change in crowded.history()] == [(1, False), (winner, False)]
    assert crowded.history()[-1].actor == f"person {winner}"
    for number, fault in told.items():
        assert number == winner or fault == (
            f"v{number} was judged against v1, production is v{winner}; run `graft adapt --publish` again, or promote "
            "it with --force"
        )


def test_twenty_forced_promotions_at_once_happen_one_after_the_other(crowded: Scene) -> None:
    assert promoted_at_once(crowded, force=True) == [""] * MANY
    in_step(crowded)
    changes = crowded.history()
    assert sorted(change.version for change in changes) == list(range(1, MANY + 2))
    # The first of them was allowed; it is the others that needed force.
    assert [change.forced for change in changes] == [False, False] + [True] * (MANY - 1)


@pytest.mark.slow
def test_twenty_commands_at_once_end_with_one_winner(crowded: Scene) -> None:
    processes = {
        number: crowded.start("promote", f"v{number}", "--reason", f"process {number}") for number in range(2, MANY + 2)
    }
    errors = {number: process.communicate(timeout=300)[1] for number, process in processes.items()}
    (winner,) = [number for number, process in processes.items() if process.returncode == 0]
    in_step(crowded)
    assert [change.version for change in crowded.history()] == [1, winner]
    for number, process in processes.items():
        lost = process.returncode == 2 and f"v{number} was judged against v1, production is v{winner}" in errors[number]
        assert number == winner or lost


def test_promotions_and_rollbacks_at_once_leave_a_history_that_can_be_followed(scene: Scene) -> None:
    for seed in (1, 2, 3):
        scene.publish(seed)
        scene.promote(f"v{seed}")
    processes = [
        scene.start(*("rollback", "v1") if number % 2 else ("promote", "v2", "--force"), "--reason", "at once")
        for number in range(6)
    ]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert 0 in [code for _, code in ends]
    for err, code in ends:
        assert code == 0 or "production was changed by somebody else meanwhile" in err
    in_step(scene)


@pytest.mark.parametrize("command", ["promote", "rollback"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_change_is_completed_by_the_next_command(scene: Scene, command: str, moment: str) -> None:
    for seed in (1, 2):
        scene.publish(seed)
        scene.promote(f"v{seed}")
    scene.publish(3)
    words = ["promote", "v3"] if command == "promote" else ["rollback"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, moment, *words, "--reason", "killed"],
        cwd=scene.root,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    now, was = (3, 2) if command == "promote" else (1, 2)
    shown = read_prod(scene.store)
    assert shown is not None
    assert (len(scene.history()), shown.version) == (3, was if moment == "before" else now)
    told = scene.graft("history")
    assert told.returncode == 0, told.stderr
    line = f"completed an interrupted change: v{now} (change 3"
    assert (line in told.stderr) == (moment == "before")
    assert f"v{now} is in production" in told.stdout
    in_step(scene)
    assert settle_pointer(scene.workspace, scene.store) == []


def test_a_promotion_waits_for_whoever_holds_the_store(scene: Scene) -> None:
    scene.publish(1)
    with store_lock(scene.store):
        process = scene.start("promote", "v1", "--reason", "it waits")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(4)
        assert scene.history() == []
    process.communicate(timeout=60)
    assert process.returncode == 0
    wait_for(lambda: scene.history() or None)
    in_step(scene)
