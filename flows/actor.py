"""Who acts, for the history."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from flows.git_user import git_user
from tasks.errors import UserError


def actor_of(root: Path, named: str | None = None) -> str:
    """`named`, else who started the flow run, else git's user.name, else the machine's user.

    Raises:
        UserError: `named` is empty.
    """
    if named is not None:
        return one_line(named, "--who")
    return flow_run_creator() or git_user(root) or _machine_user()


def one_line(text: str, option: str) -> str:
    """Text for the history, on one line.

    Raises:
        UserError: it is empty.
    """
    line = " ".join(text.split())
    if not line:
        raise UserError(f"{option} is empty; it stands in the history for good")
    return line


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
        return "unknown"
