"""How a stage runs as a process: its outcome file, its errors, its progress lines."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version

from tasks.errors import GraftError, Refusal, full_disk
from tasks.log_lines import LOG_FORMAT, LogLine, json_line
from tasks.params import Params, load_params
from tasks.reports import Outcome
from tasks.threads import limit_threads
from tasks.workspace import Workspace

PROGRESS_MARK = "graft-progress"
RUN_ID, STAGE = "GRAFT_RUN_ID", "GRAFT_STAGE"
"""Set by the run that starts a stage's process."""
BY_HAND = "by-hand"


class Progress:
    """How far a stage is: marked lines for the run that started it, a bar for a person, nothing for a pipe."""

    def __init__(self, stage: str, total: int) -> None:
        self.stage, self.total, self.done = stage, total, 0
        self._next = 0.0
        self._show = _mark if RUN_ID in os.environ else draw_bar if sys.stderr.isatty() else None

    def advance(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        if self._show and (now >= self._next or self.done >= self.total):
            self._next = now + 0.3
            self._show(self.stage, self.done, self.total)


def _mark(stage: str, done: int, total: int) -> None:
    print(f"{PROGRESS_MARK} {stage} {done} {total}", file=sys.stderr, flush=True)


def draw_bar(stage: str, done: int, total: int) -> None:
    """Redraw one line of a terminal: the stage, a bar and the count."""
    width = 30 * done // max(1, total)
    end = "\n" if done >= total else ""
    print(f"\r{stage:<9} [{'#' * width}{'.' * (30 - width)}] {done}/{total}", end=end, file=sys.stderr, flush=True)


def say(text: str, level: str = "info", exception: str | None = None) -> None:
    """A line for the run's log; `level` is a lower-case name of `logging`, `exception` a traceback."""
    _speak(LogLine(text, level, exception))


def speak_through(speaker: Callable[[LogLine], None]) -> None:
    """Have every line of this process told by `speaker` instead of printed."""
    global _speak
    _speak = speaker


def _print(line: LogLine) -> None:
    """For a person as text; for the run that started this stage so that level and traceback are not lost."""
    plain = line.level == "info" and line.exception is None
    if STAGE in os.environ and not plain:
        text = line.marked()
    elif STAGE not in os.environ and os.environ.get(LOG_FORMAT) == "json":
        text = json_line(line, os.environ.get(RUN_ID, BY_HAND), _by_hand.get(), version("graft"))
    else:
        text = line.text()
    print(text, file=sys.stderr, flush=True)


_by_hand: ContextVar[str | None] = ContextVar("stage", default=None)
"""The stage that this process runs, where no run has started it."""
_speak: Callable[[LogLine], None] = _print


class _Library(logging.Handler):
    """What libraries log or warn of inside a stage."""

    def emit(self, record: logging.LogRecord) -> None:
        exception = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        say(record.getMessage().strip(), record.levelname.lower(), exception)


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python's garbage collector still while a heavy library is imported or traces a network.

    Such work makes millions of objects of which hardly one is garbage, and the collector walks them again and again:
    a sixth of Great Expectations' import, a tenth of torch's import and export.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def run_stage(stage: str, body: Callable[[Workspace, Params], None]) -> None:
    """Run one stage in this process and leave its outcome file; exits 1 unless the stage is done."""
    workspace = Workspace.find()
    run_id = os.environ.get(RUN_ID, BY_HAND)
    _by_hand.set(stage)
    if STAGE in os.environ or LOG_FORMAT in os.environ:
        logging.captureWarnings(True)
        logging.getLogger().addHandler(_Library(logging.WARNING))
    try:
        params = load_params(workspace.params)
        limit_threads(params.limits.of(stage).threads)
        body(workspace, params)
        outcome = Outcome(stage=stage, run_id=run_id, state="done")
    except Refusal as err:
        outcome = Outcome(stage=stage, run_id=run_id, state="refused", reasons=str(err).splitlines())
    except GraftError as err:
        outcome = Outcome(stage=stage, run_id=run_id, state="failed", reasons=str(err).splitlines())
    except Exception as err:
        outcome = _unforeseen(stage, run_id, err)
    try:
        outcome.write(workspace.outcome(stage))
    except OSError as err:
        # Without its file the run that started this stage goes by what was said.
        say(f"{stage} failed: {full_disk(err) or err}", "error")
        sys.exit(1)
    if outcome.state != "done":
        for reason in outcome.reasons:
            say(f"{stage} {outcome.state}: {reason}", "error")
        sys.exit(1)


def _unforeseen(stage: str, run_id: str, err: Exception) -> Outcome:
    """Of an error that is none of ours: a full disk is the machine's, anything else a defect."""
    if full := full_disk(err):
        return Outcome(stage=stage, run_id=run_id, state="failed", reasons=[full])
    say(f"{stage} stopped by a defect: {type(err).__name__}", "error", traceback.format_exc())
    reasons = [f"{type(err).__name__}: {err}"]
    return Outcome(stage=stage, run_id=run_id, state="failed", reasons=reasons, internal=True)
