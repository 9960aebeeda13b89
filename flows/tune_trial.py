"""One trial as one process: started with its params, watched, ended when it falls behind or its time is over."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from flows.dvc_commands import dvc_environment
from flows.memory import MemoryWatch
from flows.processes import end_marked_processes, marks
from flows.supervised import Ending, run_supervised
from tasks.params import Params
from tasks.reports import write_bytes
from tasks.reports.trials import TRIAL_MARK, TrialEpoch, TrialOutcome, TrialWord
from tasks.threads import thread_environment
from tasks.workspace import Workspace

COMMAND = (sys.executable, "-m", "tasks.trial")
STAGE = "adapt"
"""A trial does what adapt does: its limits hold."""


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended. `cancelled`: the run was; `time`: its time was over."""

    state: Literal["complete", "pruned", "failed", "time", "cancelled"]
    seconds: float
    outcome: TrialOutcome | None = None
    reason: str = ""


class EitherEvent(threading.Event):
    """Set once it is set itself, or another one is."""

    def __init__(self, other: threading.Event | None) -> None:
        super().__init__()
        self.other = other

    def is_set(self) -> bool:
        return super().is_set() or (self.other is not None and self.other.is_set())


class _Words:
    """Sorts what a trial prints: its own marked lines, and everything else."""

    def __init__(
        self, behind: threading.Event, on_epoch: Callable[[TrialEpoch], bool], on_line: Callable[[str], None]
    ) -> None:
        self._behind, self._on_epoch, self._on_line = behind, on_epoch, on_line
        self.outcome: TrialOutcome | None = None
        self.fault: str | None = None

    def line(self, text: str) -> None:
        word = _word(text)
        if word is None:
            self._on_line(text)
        elif word.epoch is not None:
            if not self._behind.is_set() and self._on_epoch(word.epoch):
                self._behind.set()
        else:
            self.outcome, self.fault = word.outcome or self.outcome, word.fault or self.fault


def run_trial(
    workspace: Workspace,
    params: Params,
    checkpoints: Path,
    run_id: str,
    seconds: float,
    on_epoch: Callable[[TrialEpoch], bool],
    on_line: Callable[[str], None],
    cancelled: threading.Event | None = None,
    command: tuple[str, ...] = COMMAND,
) -> TrialEnd:
    """Judge params in a process of their own; the caller holds the workspace's lock.

    Args:
        seconds: after it the trial and all that it started are ended.
        on_epoch: told every epoch's figures; True ends the trial as pruned.
        on_line: told every other line that it prints.
        checkpoints: where its trainings keep their state.
        command: what judges; the file of its params and `checkpoints` are its last arguments.
    Raises:
        BaseException: what is raised in this thread while it waits, after everything was ended.
    """
    started, stop = time.monotonic(), EitherEvent(cancelled)
    words = _Words(stop, on_epoch, on_line)
    file = workspace.private / "tune" / "trial.json"
    write_bytes(file, params.model_dump_json(by_alias=True).encode())
    try:
        ending = _process((*command, str(file), str(checkpoints)), workspace, params, run_id, seconds, words.line, stop)
    finally:
        file.unlink(missing_ok=True)
    return _end(ending, words, params, time.monotonic() - started, cancelled)


def _process(
    command: tuple[str, ...],
    workspace: Workspace,
    params: Params,
    run_id: str,
    seconds: float,
    on_line: Callable[[str], None],
    stop: threading.Event,
) -> Ending:
    limits = params.limits.of(STAGE)
    wanted = marks(workspace.root, run_id, STAGE)
    environment = {**dvc_environment(), **thread_environment(limits.threads), **wanted}
    memory = MemoryWatch(limits.memory_gb * 1e9 if limits.memory_gb else None)
    ending = run_supervised(command, workspace.root, environment, seconds, on_line, stop, memory=memory)
    if ending.exit_code < 0:
        end_marked_processes(wanted)  # The supervisor was killed, so nobody ended what was below it.
    return ending


def _end(ending: Ending, words: _Words, params: Params, seconds: float, cancelled: threading.Event | None) -> TrialEnd:
    if words.outcome is not None:
        return TrialEnd("complete", seconds, words.outcome)
    if cancelled is not None and cancelled.is_set():
        return TrialEnd("cancelled", seconds)
    if ending.stopped == "cancelled":
        return TrialEnd("pruned", seconds)
    if ending.stopped == "timeout":
        return TrialEnd("time", seconds)
    if ending.stopped == "memory":
        key = params.limits.key(STAGE, "memory_gb")
        return TrialEnd("failed", seconds, reason=f"it used more memory than {key} allows and was ended")
    lines = "; ".join(ending.tail[-3:]) or "it said nothing"
    return TrialEnd("failed", seconds, reason=words.fault or f"it ended with exit code {ending.exit_code}: {lines}")


def _word(text: str) -> TrialWord | None:
    if not text.startswith(TRIAL_MARK):
        return None
    try:
        return TrialWord.model_validate_json(text.removeprefix(TRIAL_MARK))
    except ValidationError:
        return None


__all__ = ["COMMAND", "TrialEnd", "run_trial"]
