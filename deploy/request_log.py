"""One line a request and every other line of a server, as JSON or text; nothing that a client sends can forge one."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from deploy.log_writer import WriterHandler

LOGGER = logging.getLogger("graft.request")
_SAFE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)
_FIELDS = "fields"


def request_id_of(sent: bytes | None) -> str:
    """The id that a client sent in X-Request-Id if it is at most 128 safe characters, else a new one."""
    if sent is not None and _SAFE_ID.fullmatch(sent):
        return sent.decode("ascii")
    return secrets.token_hex(16)


def log_request(level: int, fields: dict[str, Any]) -> None:
    """The line of one answered request."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, "request", extra={_FIELDS: fields})


def log_refusals(count: int, fields: dict[str, Any]) -> None:
    """One line for `count` requests that were refused alike: a line for each would cost more than refusing it."""
    LOGGER.info("requests refused", extra={_FIELDS: {**fields, "count": count}})


def configure_logging(log_format: Literal["text", "json"], stream: TextIO | None = None) -> None:
    """Send every logger's lines of this process to stderr in one format; called again it replaces what it set up."""
    handler = WriterHandler(stream or sys.stderr)
    handler.setFormatter(JsonLine() if log_format == "json" else TextLine())
    handler.set_name("graft")
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if one.get_name() == "graft"]:
        root.removeHandler(earlier)
        earlier.close()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for noisy in ("python_multipart", "httptools", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


class JsonLine(logging.Formatter):
    """time (UTC), level, logger, message, then a request's own fields; ASCII only, so that a line stays one line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


class TextLine(logging.Formatter):
    """time level logger message key=value ...; control characters are escaped, a traceback follows on its own lines."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, _FIELDS, {})
        parts = [_time(record), record.levelname, record.name, _one_line(record.getMessage())]
        parts += [f"{key}={_one_line(str(value))}" for key, value in fields.items() if value is not None]
        text = " ".join(parts)
        if record.exc_info:
            text += "\n" + "\n".join(
                f"  {_one_line(one)}" for one in self.formatException(record.exc_info).splitlines()
            )
        return text


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
