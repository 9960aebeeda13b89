"""One stage as a process: its state, its lines, and its end however it is ended."""

from __future__ import annotations

import ctypes
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from toy_workspace import Toy, wait_for

from flows.dvc_commands import dvc_command, dvc_environment
from tasks.errors import StageFailed
from tasks.params import LimitsParams
from tasks.reports import Outcome


def test_a_stage_that_did_its_work_is_done(toy: Toy) -> None:
    result = toy.run("one")
    assert (result.state, result.reasons, result.died) == ("done", [], False)
    assert (toy.root / "data/one.txt").read_text().endswith("one 9\n")
    assert result.seconds > 0


def test_a_stage_that_is_up_to_date_is_unchanged(finished: Toy) -> None:
    assert finished.run("one", "later").state == "unchanged"


def test_a_deleted_out_comes_back_from_the_cache_as_unchanged(finished: Toy) -> None:
    before = (finished.root / "data/one.txt").read_bytes()
    (finished.root / "data/one.txt").unlink()
    assert finished.run("one", "later").state == "unchanged"
    assert (finished.root / "data/one.txt").read_bytes() == before


def test_force_runs_a_stage_that_is_up_to_date(finished: Toy) -> None:
    assert finished.run("one", "later", force=True).state == "done"


def test_a_refusal_is_refused_with_its_reasons_although_dvc_only_says_255(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_one", "refuse")
    result = toy.run("one")
    assert (result.state, result.reasons) == ("refused", ["too few items", "too many classes"])


def test_a_failure_keeps_its_reasons_and_says_that_it_is_a_defect(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "fail")
    result = toy.run("one")
    assert (result.state, result.reasons, result.internal, result.died) == (
        "failed",
        ["ValueError: seven"],
        True,
        False,
    )


def test_a_stage_without_an_outcome_failed_and_its_last_lines_are_the_reasons(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_one", "crash")
    result = toy.run("one")
    assert (result.state, result.died) == ("failed", True)
    assert "the last words" in result.reasons


def test_the_outcome_of_an_earlier_run_is_not_believed(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    Outcome(stage="one", run_id="run", state="refused").write(toy.workspace.outcome("one"))
    monkeypatch.setenv("TOY_one", "crash")
    assert toy.run("one").state == "failed"


def test_a_stage_that_says_done_without_its_out_failed(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "forget")
    result = toy.run("one")
    assert (result.state, result.died) == ("failed", False)
    assert any("data/one.txt" in reason for reason in result.reasons)


def test_the_signal_that_killed_a_stage_is_named(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "die")
    result = toy.run("one")
    assert (result.state, result.died) == ("failed", True)
    assert "one was killed by SIGKILL" in result.reasons[0]


def test_a_stage_that_dvc_does_not_know_failed_with_its_words(toy: Toy) -> None:
    result = toy.run("four")
    assert (result.state, result.died) == ("failed", False)
    assert any("'four' not found" in reason for reason in result.reasons)


def test_lines_come_while_the_stage_works(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_SECONDS", "1.5")
    seen: dict[str, float] = {}
    toy.run("one", on_line=lambda line: seen.setdefault(line, time.monotonic()))
    assert seen["one step 9"] - seen["one step 0"] > 1.0


def test_lines_that_are_no_text_and_progress_bars_are_shown_as_well_as_can_be(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_one", "babble")
    lines: list[str] = []
    assert toy.run("one", on_line=lines.append).state == "done"
    assert {"caf\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}", "100%", "green"} <= set(lines)
    assert any(line.startswith("no line's end") for line in lines)


def test_the_stage_runs_under_this_very_interpreter_whatever_stands_on_the_path(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("SHELL", "/usr/sbin/nologin")
    lines: list[str] = []
    toy.run("one", on_line=lines.append)
    assert any(line.startswith(f"python is {Path(sys.executable).parent}/") for line in lines)


def test_a_timeout_ends_the_stage_and_all_that_it_started(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "scatter")
    result = toy.run("one", timeout_seconds=2.5)
    assert (result.state, result.died) == ("failed", False)
    assert "took longer than 2.5 s" in result.reasons[0]
    assert toy.is_deserted(0.5)


def test_a_stage_that_uses_more_memory_than_it_may_is_ended_and_the_setting_named(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_one", "gorge")
    result = toy.run("one", limits=LimitsParams(memory_gb=0.3))
    assert (result.state, result.died, result.over_memory) == ("failed", False, True)
    said = r"stage one used 0\.\d+ GB of memory, over limits\.memory_gb = 0\.3 .* raise the limit"
    assert re.search(said, result.reasons[0])
    assert result.peak_gb > 0.3
    assert toy.is_deserted(0.5)


def test_a_stage_under_its_memory_limit_is_left_alone(toy: Toy) -> None:
    assert toy.run("one", limits=LimitsParams(memory_gb=2.0)).state == "done"


def test_a_stage_is_told_how_many_threads_it_may_use(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "threads")
    lines: list[str] = []
    toy.run("one", on_line=lines.append, limits=LimitsParams(threads=3))
    assert "threads 3 3" in lines


def test_an_interrupt_ends_the_stage_and_is_raised_again(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "hang")

    def interrupt(line: str) -> None:
        if line == "hanging":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy.run("one", on_line=interrupt)
    assert toy.is_deserted(0.5)


class Cancelled(BaseException):
    """What an orchestrator raises in the thread that waits."""


def test_an_exception_raised_in_the_waiting_thread_ends_the_stage(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "hang")
    hanging, ended = threading.Event(), []

    def wait() -> None:
        try:
            toy.run("one", on_line=lambda line: hanging.set() if line == "hanging" else None)
        except Cancelled:
            ended.append("cancelled")

    thread = threading.Thread(target=wait)
    thread.start()
    assert hanging.wait(20)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Cancelled))
    thread.join(10)
    assert ended == ["cancelled"]
    assert toy.is_deserted(0.5)


def test_a_cancelled_stage_is_ended_and_says_so(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "hang")
    cancelled = threading.Event()
    with pytest.raises(StageFailed, match="one was cancelled"):
        toy.run("one", cancelled=cancelled, on_line=lambda line: cancelled.set() if line == "hanging" else None)
    assert toy.is_deserted(0.5)


def test_ctrl_c_at_the_desk_ends_everything(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "hang")
    driver = toy.drive()
    toy.process("toy_stage.py", "one")
    driver.send_signal(signal.SIGINT)
    driver.wait(15)
    assert toy.is_deserted(0.5)


@pytest.mark.parametrize("words", [("dvc", "repro"), ("-I", "-S")], ids=["dvc", "supervisor"])
def test_killing_what_stands_between_leaves_no_orphan_and_the_next_run_goes_on(
    toy: Toy, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_one", "hang")

    def kill(line: str) -> None:
        if line == "hanging":
            _innermost(toy, words).kill()

    result = toy.run("one", on_line=kill)
    assert (result.state, result.died) == ("failed", True)
    assert "killed by SIGKILL" in result.reasons[0]
    assert toy.is_deserted(0.5)
    monkeypatch.setenv("TOY_one", "work")
    assert toy.run("one", "later").state == "done"


def test_an_orphan_of_a_run_that_was_killed_whole_is_ended_by_the_next_run(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_one", "hang")
    driver = toy.drive("killed")
    assert driver.stdout is not None
    assert "hanging\n" in iter(driver.stdout.readline, "")
    orphan = toy.process("toy_stage.py", "one")
    supervisor, dvc = _innermost(toy, ("-I", "-S")), _innermost(toy, ("dvc", "repro"))
    # Stopped first, so that neither has the time to clean up after the other.
    driver.send_signal(signal.SIGSTOP)
    supervisor.suspend()
    for victim in (driver, supervisor, dvc):
        victim.kill()
    driver.wait()
    assert orphan.is_running()
    monkeypatch.setenv("TOY_one", "work")
    after = toy.drive("after")
    output, _ = after.communicate(timeout=30)
    assert re.search(rf"the killed run killed had left running \(process .*\b{orphan.pid}\b.*\)", output)
    assert "result three done" in output
    assert toy.is_deserted(0.5)


def test_a_dvc_command_of_the_user_blocks_with_a_clear_message(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "hang")
    environment = {**dvc_environment(), "GRAFT_RUN_ID": "by-hand"}
    mine = subprocess.Popen(dvc_command("repro", "one"), cwd=toy.root, env=environment, stdout=subprocess.DEVNULL)
    toy.process("toy_stage.py", "one")
    result = toy.run("one")
    assert (result.state, result.died) == ("failed", False)
    assert "another DVC command is working in this workspace" in result.reasons[0]
    assert str(mine.pid) in result.reasons[0]
    mine.kill()
    mine.wait()


@pytest.fixture(scope="module")
def undisturbed(toy_template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of a run that nobody disturbed."""
    toy = Toy.copy(toy_template, tmp_path_factory.mktemp("undisturbed").resolve() / "workspace")
    toy.drive("undisturbed").communicate(timeout=60)
    return toy.digests()


def _kill_and_go_on(toy: Toy, delay: float) -> str:
    """Kill a run after `delay` seconds from its lock on; returns what the next run said."""
    driver = toy.drive("killed")
    assert driver.stdout is not None
    assert driver.stdout.readline() == "locked\n"
    time.sleep(delay)
    driver.kill()
    driver.wait()
    assert toy.is_deserted(), "a killed run left processes"
    output, _ = toy.drive("after").communicate(timeout=60)
    return output


@pytest.mark.parametrize("seed", range(3))
def test_sigkill_at_a_random_moment_leaves_nothing_and_the_next_run_ends_the_same(
    toy: Toy, undisturbed: dict[str, str], seed: int
) -> None:
    output = _kill_and_go_on(toy, random.Random(seed).uniform(0.0, 2.5))
    assert "result three" in output
    assert toy.digests() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_killing_any_processes_at_random_moments_again_and_again_does_not_change_the_end(
    toy: Toy, undisturbed: dict[str, str], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_SECONDS", "0.05")
    moments = random.Random(seed)
    for _ in range(moments.randint(1, 3)):
        driver = toy.drive("killed")
        time.sleep(moments.uniform(0.2, 3.0))
        below = toy.processes()
        for victim in (*moments.sample(below, k=moments.randint(0, len(below))), driver):
            _kill(victim)
        driver.wait()
    output, _ = toy.drive("after").communicate(timeout=60)
    assert "result three" in output
    assert toy.digests() == undisturbed
    assert toy.is_deserted(0.5)


def _kill(victim: psutil.Process | subprocess.Popen[str]) -> None:
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        return


def _innermost(toy: Toy, words: tuple[str, ...]) -> psutil.Process:
    """The youngest process with these arguments (the supervisor's own hold those of DVC too)."""

    def look() -> psutil.Process | None:
        found = [process for process in toy.processes() if set(words) <= set(process.cmdline())]
        return max(found, key=lambda process: (process.create_time(), process.pid)) if found else None

    return wait_for(look)
