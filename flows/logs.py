"""A run's log: text or JSON lines on stderr, and JSON lines kept in .graft/runs whatever the terminal shows."""

from __future__ import annotations

import atexit
import logging
import os
import re
import select
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.params_file import Edit
from flows.raw_lines import FLUSH
from tasks.errors import ParamsError, did_you_mean
from tasks.log_lines import LOG_FORMAT, LogLine, json_line
from tasks.stage import speak_through
from tasks.workspace import STAGES, Workspace

LogFormat = Literal["text", "json"]
PROGRESS_SECONDS = 2.0
ACKNOWLEDGE_SECONDS = 2.0
_WANTED_STOP = re.compile(
    r"(?:Crash detected!|Finished in state Crashed).*Execution was aborted by "
    r"(an interrupt signal|a termination signal|Python system exit call)"
)
_FINAL_STATE = re.compile(r"(Finished in state (?:Failed|Refused))\(")
LINE = "graft_line"
"""The attribute of a logging record that holds our own line, beside its text for Prefect's page."""


class RunLog:
    """Where every line of this process goes."""

    def __init__(self) -> None:
        self.as_json = False
        self.run_id: str | None = None
        self.version = version("graft")
        self._kept: Path | None = None
        self._lock = threading.Lock()
        self._next_progress = 0.0

    def begin(self, workspace: Workspace, run_id: str) -> None:
        """From now on every line names this run and is kept in its file, which the first one makes."""
        self.run_id, self._kept = run_id, workspace.run_log(run_id)
        self.version = graft_version(workspace.root)

    def line(self, line: LogLine, stage: str | None = None, shown: bool = True) -> None:
        """Log a line; in a text log `shown` says whether the terminal has it too."""
        text = json_line(line, self.run_id, stage, self.version)
        self._keep(text)
        if self.as_json:
            self._print(text)
        elif shown:
            self._print(line.text())

    def progress(self, stage: str, done: int, total: int) -> None:
        """How far a stage is: every two seconds, and the end."""
        if time.monotonic() < self._next_progress and done < total:
            return
        self._next_progress = time.monotonic() + PROGRESS_SECONDS
        text = json_line(LogLine(f"{stage} {done} of {total}"), self.run_id, stage, self.version, (done, total))
        self._keep(text)
        if self.as_json:
            self._print(text)

    def kept(self) -> Path | None:
        """The run's file, once it has a line."""
        return self._kept if self._kept is not None and self._kept.exists() else None

    def _print(self, text: str) -> None:
        with self._lock:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def _keep(self, text: str) -> None:
        # A log that cannot be written must not end the run that it tells of.
        if self._kept is not None:
            with suppress(OSError), self._lock:
                self._kept.parent.mkdir(parents=True, exist_ok=True)
                with self._kept.open("a", encoding="ascii") as file:
                    file.write(f"{text}\n")


run_log = RunLog()
"""The log of this process; it has one run at a time."""


def start_logs(log_format: LogFormat) -> None:
    """Log in this form until the process ends; in the JSON form nothing else reaches stderr."""
    speak_through(run_log.line)
    sys.excepthook = _log_exception
    if log_format == "json" and not run_log.as_json:
        _divert_stderr()
        run_log.as_json = True
        threading.excepthook = lambda found: _log_exception(found.exc_type, found.exc_value or BaseException(), None)
        logging.captureWarnings(True)
        logging.getLogger().addHandler(RecordHandler(shown=True))


def early_format(arguments: Sequence[str], environment: Mapping[str, str]) -> LogFormat:
    """The form as far as the command line and the environment tell, before either is checked."""
    words = list(arguments)
    named = [word.partition("=")[2] for word in words if word.startswith("--log-format=")]
    named += [after for word, after in pairwise(words) if word == "--log-format"]
    return "json" if (named[-1] if named else environment.get(LOG_FORMAT)) == "json" else "text"


def chosen_format(workspace: Workspace, flag: str | None, edits: Sequence[Edit]) -> LogFormat:
    """The form: --log-format, else GRAFT_LOG_FORMAT, else --set flow.log_format, else params.yaml.

    Raises:
        ParamsError: the flag or the variable names no form; a wrong params.yaml is left to its own reader.
    """
    for name, value in (("--log-format", flag), (LOG_FORMAT, os.environ.get(LOG_FORMAT) or None)):
        if value is not None and value not in get_args(LogFormat):
            raise ParamsError(f"{name}: unknown value {value!r}{did_you_mean(value, get_args(LogFormat))}")
        if value is not None:
            return "json" if value == "json" else "text"
    set_here = [edit.value for edit in edits if edit.key == ("flow", "log_format")]
    return "json" if (set_here[-1] if set_here else _written_format(workspace)) == "json" else "text"


def _written_format(workspace: Workspace) -> object:
    with suppress(OSError, UnicodeDecodeError, YAMLError, AttributeError):
        return (YAML(typ="safe").load(workspace.params.read_text("utf-8")).get("flow") or {}).get("log_format")
    return None


def graft_version(root: Path) -> str:
    """Graft's version, and the commit where the workspace is a checkout: `0.1.0+g1a2b3c4d5e6f`."""
    command = ["git", "rev-parse", "--verify", "--quiet", "--short=12", "HEAD"]
    with suppress(OSError):
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        if done.returncode == 0:
            return f"{version('graft')}+g{done.stdout.strip()}"
    return version("graft")


class RecordHandler(logging.Handler):
    """Every record of Python's logging, Prefect's among them, as a line of the run's log."""

    def __init__(self, shown: bool) -> None:
        super().__init__()
        self.shown = shown

    def emit(self, record: logging.LogRecord) -> None:
        try:
            stage = getattr(record, "task_run_name", None)
            line: LogLine = getattr(record, LINE, None) or _line_of(record)
            run_log.line(line, stage if stage in (*STAGES, "publish") else None, shown=self.shown)
        except Exception:
            self.handleError(record)


def take_over_prefect() -> None:
    """Import Prefect, and lead its lines into the run's log, in the JSON form no longer to its console."""
    import_module("prefect.main")  # sets logging up, which would take our handlers away if it came later
    root = logging.getLogger()
    if run_log.as_json:
        for logger in (root, *(logging.getLogger(name) for name in ("uvicorn", "fastapi", "prefect._internal"))):
            for handler in [each for each in logger.handlers if isinstance(each, logging.StreamHandler)]:
                logger.removeHandler(handler)
        logging.getLogger("prefect._internal").propagate = True
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        if reworded_ending not in (logger := logging.getLogger(name)).filters:
            logger.addFilter(reworded_ending)
    if not any(isinstance(handler, RecordHandler) for handler in root.handlers):
        root.addHandler(RecordHandler(shown=False))


def reworded_ending(record: logging.LogRecord) -> bool:
    """A filter: a wanted stop is no crash, and a final state does not repeat the reason, nor end in a traceback.

    The stage has told that already, and the run's last line tells it in any case. A worker's process raises the final
    state of ours that is no success once more, as an error of Prefect's own.
    """
    if record.exc_info and type(record.exc_info[1]).__name__ in ("FailedRun", "CancelledRun"):
        return False
    stop, ended = _WANTED_STOP.search(record.getMessage()), _FINAL_STATE.match(record.getMessage())
    if ended:
        record.msg, record.args = ended[1], ()
    if stop:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = f"stopped by {stop[1]}", ()
    return True


def _line_of(record: logging.LogRecord) -> LogLine:
    exception = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
    return LogLine(record.getMessage(), record.levelname.lower(), exception or None)


def _log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        text = "".join(traceback.format_exception(kind, error, trace or error.__traceback__))
        run_log.line(LogLine(f"{kind.__name__}: {error}", "critical", text))
    elif not run_log.as_json:
        sys.__excepthook__(kind, error, trace)


def _divert_stderr() -> None:
    """Lead descriptor 2, which children inherit, through `flows.raw_lines`; it outlives this process."""
    read_end, write_end = os.pipe()
    acknowledged, acknowledge = os.pipe()
    program = str(Path(__file__).with_name("raw_lines.py"))
    sys.stderr.flush()
    subprocess.Popen(
        [sys.executable, "-I", "-S", program, str(acknowledge)],
        stdin=read_end,
        pass_fds=[acknowledge],
        start_new_session=True,
    )
    os.dup2(write_end, 2)
    for descriptor in (read_end, write_end, acknowledge):
        os.close(descriptor)
    atexit.register(_wait_for_lines, acknowledged)


def _wait_for_lines(acknowledged: int) -> None:
    """Let everything that was printed be out before this process is gone."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
        os.write(2, b"\n" + FLUSH + b"\n")
        select.select([acknowledged], [], [], ACKNOWLEDGE_SECONDS)
