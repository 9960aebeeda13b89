"""Who acts, for the history."""

from __future__ import annotations

import getpass
import sys
import unicodedata
from pathlib import Path

from flows.git_user import git_user
from tasks.errors import UserError

UNKNOWN = "unknown"
LONGEST = 2000
"""Characters of a reason or a name: it stands in the history, in a tag, in an event and on one line of a terminal."""
_UNPRINTABLE = ("Cc", "Cs")
"""Unicode's categories of control characters and of lone surrogates, which no UTF-8 file can hold."""


def actor_of(root: Path, named: str | None = None) -> str:
    """`named`, else who started the flow run, else git's user.name, else the machine's user.

    Raises:
        UserError: `named` is none, as `one_line`.
    """
    if named is not None:
        return one_line(named, "--who")
    return _printable(flow_run_creator()) or _printable(git_user(root)) or _printable(_machine_user()) or UNKNOWN


def one_line(text: str, option: str) -> str:
    """Text for the history, on one line.

    Raises:
        UserError: it is empty, too long, or holds what cannot be shown or written.
    """
    line = " ".join(text.split())
    if not line:
        raise UserError(f"{option} is empty; it stands in the history for good")
    strange = sorted({f"{ord(sign):04X}" for sign in line if unicodedata.category(sign) in _UNPRINTABLE})
    if strange:
        raise UserError(f"{option} holds U+{', U+'.join(strange)}, no characters of a text; write it in UTF-8 without")
    if len(line) > LONGEST:
        raise UserError(f"{option} has {len(line)} characters, at most {LONGEST} are kept; shorten it")
    return line


def _printable(text: str | None) -> str | None:
    """A name that nobody gave us just now, as far as it can be kept."""
    kept = "".join(sign for sign in text or "" if sign.isspace() or unicodedata.category(sign) not in _UNPRINTABLE)
    return " ".join(kept.split())[:LONGEST] or None


def flow_run_creator() -> str | None:
    """Whom Prefect's server knows as the creator of the flow run that this is; None outside of one."""
    if "prefect" not in sys.modules:
        return None
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    created_by = getattr(context.flow_run, "created_by", None) if context else None
    return getattr(created_by, "display_value", None) or None


def _machine_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return UNKNOWN
