"""One stage as one `dvc repro --single-item` process: started clean, watched, ended whole, judged by its outcome."""

from __future__ import annotations

import errno
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from flows.dvc_commands import dvc_command, dvc_environment, explain
from flows.dvc_repair import back_up_dvc_lock, repair
from flows.memory import MemoryWatch
from flows.processes import end_marked_processes, marks
from flows.restored_outs import RESTORED, altered_objects, throw_away
from flows.supervised import Ending, run_supervised
from tasks.errors import StageFailed, StageInputError, full_disk
from tasks.log_lines import unmarked
from tasks.params import LimitsParams
from tasks.reports import Outcome
from tasks.stage import PROGRESS_MARK
from tasks.threads import thread_environment
from tasks.workspace import Workspace

State = Literal["done", "unchanged", "refused", "failed"]

MEMORY_MENDS = {
    "validate": "lower limits.stages.validate.threads or validate.max_pixels",
    "embed": "lower embed.batch_size or limits.stages.embed.threads",
    "qualify": "lower embed.batch_size or limits.stages.qualify.threads",
}
"""What makes a stage use less; each image in work costs memory per thread."""

_EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)")
_FULL = re.compile(r"No space left on device(?:: '([^']*)'(?: -> '([^']*)')?)?")
_TOLD_FULL = "no space left on the disk"


@dataclass(frozen=True)
class StageResult:
    """How a stage ended.

    `unchanged`: DVC found it up to date or took it from its run cache. `internal`: a defect of Graft or its libraries.
    `died`: the process ended without its own word (a crash or a kill), which may pass the second time.
    `over_memory`: it was ended because it used more memory than its limit; `peak_gb` is the most that was seen.
    """

    stage: str
    state: State
    reasons: list[str] = field(default_factory=list)
    internal: bool = False
    died: bool = False
    over_memory: bool = False
    peak_gb: float = 0.0
    seconds: float = 0.0


def run_stage_process(
    ws: Workspace,
    stage: str,
    run_id: str,
    timeout_seconds: float,
    on_line: Callable[[str], None],
    cancelled: threading.Event | None = None,
    force: bool = False,
    limits: LimitsParams = LimitsParams(),  # noqa: B008  (frozen)
) -> StageResult:
    """Run one stage of dvc.yaml; the caller holds `workspace_lock` of this workspace and run.

    Args:
        timeout_seconds: after it the stage and all that it started are ended and the result is `failed`.
        on_line: called with every line of output as it comes, and with one line per thing that was repaired before.
        cancelled: once set, the stage is ended; looked at five times a second.
        force: run the command even if nothing changed.
        limits: the stage keeps to its threads, and is ended when it uses more memory than it may.
    Raises:
        StageFailed: `cancelled` was set.
        WorkspaceError: dvc.lock holds an unresolved merge, or a process cannot be ended.
        BaseException: what is raised in this thread while it waits, after everything was ended.
    """
    started = time.monotonic()
    for line in repair(ws):
        on_line(line)
    back_up_dvc_lock(ws)
    ws.outcome(stage).unlink(missing_ok=True)
    heard = _Restored(on_line)
    ending = _run(ws, stage, run_id, timeout_seconds, heard, cancelled, force, limits)
    if heard.restored and ending.exit_code == 0 and (altered := altered_objects(ws, stage)):
        for line in throw_away(ws, altered):
            on_line(f"{line}; {stage} is run anew")
        ending = _run(ws, stage, run_id, timeout_seconds, on_line, cancelled, True, limits)
    result = _over_memory(stage, ending, limits) or _judge(ws, stage, run_id, timeout_seconds, ending)
    return replace(result, seconds=time.monotonic() - started, peak_gb=round(ending.peak_bytes / 1e9, 3))


class _Restored:
    """Hands lines on, and notices that DVC took the outs from its cache."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.restored, self._on_line = False, on_line

    def __call__(self, line: str) -> None:
        self.restored |= RESTORED in line
        self._on_line(line)


def _run(
    ws: Workspace,
    stage: str,
    run_id: str,
    timeout_seconds: float,
    on_line: Callable[[str], None],
    cancelled: threading.Event | None,
    force: bool,
    limits: LimitsParams,
) -> Ending:
    command = dvc_command("repro", "--single-item", *(["--force"] if force else []), stage)
    wanted = marks(ws.root, run_id, stage)
    allowed = limits.of(stage)
    environment = {**dvc_environment(), **thread_environment(allowed.threads), **wanted}
    memory = MemoryWatch(allowed.memory_gb * 1e9 if allowed.memory_gb else None)
    ending = run_supervised(command, ws.root, environment, timeout_seconds, on_line, cancelled, memory=memory)
    if ending.exit_code < 0:
        # The supervisor was killed, so nobody ended what was below it.
        end_marked_processes(wanted)
    if ending.stopped == "cancelled":
        raise StageFailed(f"{stage} was cancelled")
    return ending


def _over_memory(stage: str, ending: Ending, limits: LimitsParams) -> StageResult | None:
    if ending.stopped != "memory":
        return None
    key, limit_gb = limits.key(stage, "memory_gb"), limits.of(stage).memory_gb
    mend = MEMORY_MENDS.get(stage, "give it fewer or smaller items")
    reason = (
        f"stage {stage} used {ending.peak_bytes / 1e9:.3g} GB of memory, over {key} = {limit_gb:g} (params.yaml), and "
        f"was ended; raise the limit (`--set limits.stages.{stage}.memory_gb=...`), or {mend}"
    )
    return StageResult(stage, "failed", [reason], over_memory=True)


def _judge(ws: Workspace, stage: str, run_id: str, timeout_seconds: float, ending: Ending) -> StageResult:
    """The outcome file speaks first; DVC's exit code only tells whether the outs were recorded."""
    if ending.stopped == "timeout":
        limit = f"{timeout_seconds:g} s (params.yaml: flow.stage_timeout_seconds)"
        return StageResult(stage, "failed", [f"{stage} took longer than {limit} and was ended"])
    outcome = _outcome(ws, stage, run_id)
    if outcome is not None and outcome.state != "done":
        return StageResult(stage, outcome.state, list(outcome.reasons), outcome.internal)
    if ending.exit_code == 0:
        return StageResult(stage, "unchanged" if outcome is None else "done")
    return _failure(stage, ending)


def _outcome(ws: Workspace, stage: str, run_id: str) -> Outcome | None:
    """What the stage said about this very run; None if it said nothing that can be read."""
    try:
        outcome = Outcome.read(ws.outcome(stage))
    except StageInputError:
        return None
    return outcome if (outcome.stage, outcome.run_id) == (stage, run_id) else None


def _failure(stage: str, ending: Ending) -> StageResult:
    """An end without a readable outcome, or with outs that DVC did not record."""
    if full := _full_disk(stage, ending.tail):
        return StageResult(stage, "failed", [full])
    number = _signal_number(ending)
    if number is not None:
        short_of_memory = " (often the machine ran out of memory; limits.memory_gb ends a stage before that)"
        hint = short_of_memory if number == signal.SIGKILL else ""
        reasons = [f"{stage} was killed by {_signal_name(number)}{hint}; its last lines:", *_readable(ending.tail)]
        return StageResult(stage, "failed", reasons, died=True)
    if _command_exit_code(ending) is not None:
        reasons = [f"{stage} ended without an outcome; its last lines:", *_readable(ending.tail)]
        return StageResult(stage, "failed", reasons, internal=True, died=True)
    return StageResult(stage, "failed", [f"DVC could not run or record {stage}: {explain(ending.tail)}"])


def _full_disk(stage: str, tail: Sequence[str]) -> str | None:
    """What a stage or DVC said of a disk that takes no more; the outcome's own file may not have found room either."""
    lines = _readable(tail)
    if told := [line for line in lines if _TOLD_FULL in line]:
        return told[-1]
    found = [match for line in lines if (match := _FULL.search(line))]
    if not found:
        return None
    place = next((match[2] or match[1] for match in found if match[1]), None)
    return f"DVC could not keep what {stage} made: {full_disk(OSError(errno.ENOSPC, '', place))}"


def _readable(tail: Sequence[str]) -> list[str]:
    """Lines for a person: what was marked for the log as text, without progress."""
    lines = [line.text() if (line := unmarked(text)) else text for text in tail]
    return [part for line in lines for part in line.splitlines() if not part.startswith(PROGRESS_MARK)]


def _command_exit_code(ending: Ending) -> int | None:
    """What the stage's own command exited with, if DVC says that it failed."""
    codes = [int(match[1]) for line in ending.tail if (match := _EXITED.search(line))]
    return codes[-1] if codes else None


def _signal_number(ending: Ending) -> int | None:
    """The signal that ended the supervisor, DVC or the stage's own process."""
    for code in (ending.exit_code, _command_exit_code(ending) or 0):
        # Negative as Python tells it, 128 + n as a shell does; 255 is DVC's word for every error.
        number = -code if code < 0 else code - 128
        if 0 < number < signal.NSIG:
            return number
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
