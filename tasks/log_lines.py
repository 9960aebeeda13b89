"""One line of a log as JSON, and how a stage's process hands its lines to the run that started it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

LOG_FORMAT = "GRAFT_LOG_FORMAT"
MARK = "graft-log "


@dataclass(frozen=True)
class LogLine:
    """A message, its level (a lower-case name of `logging`), and where there is one an exception's traceback."""

    message: str
    level: str = "info"
    exception: str | None = None

    def text(self) -> str:
        """As a person reads it."""
        return f"{self.message}\n{self.exception.rstrip()}" if self.exception else self.message

    def marked(self) -> str:
        """One line for the run that reads this process's output; `unmarked` gives the same back."""
        return MARK + json.dumps({"message": self.message, "level": self.level, "exception": self.exception})


def unmarked(text: str) -> LogLine | None:
    """The line that `marked` wrote; None for any other text."""
    if not text.startswith(MARK):
        return None
    try:
        fields = json.loads(text.removeprefix(MARK))
        return LogLine(str(fields["message"]), str(fields["level"]), fields["exception"])
    except (ValueError, KeyError, TypeError):
        return None


def json_line(
    line: LogLine, run: str | None, stage: str | None, version: str, progress: tuple[int, int] | None = None
) -> str:
    """One JSON object without a line's end: time (UTC), level, run, stage, version, message.

    Args:
        progress: (done, total) items of the stage, as a field of its own.
    """
    fields: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": line.level,
        "run": run,
        "stage": stage,
        "version": version,
        "message": line.message,
    }
    if line.exception:
        fields["exception"] = line.exception
    if progress:
        fields["progress"] = dict(zip(("done", "total"), progress, strict=True))
    return json.dumps(fields, ensure_ascii=True)
