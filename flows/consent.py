"""Asking a person before anything is removed for good."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tasks.errors import UserError


def ask(
    summary: str,
    question: str,
    yes: bool,
    is_terminal: bool,
    read: Callable[[str], str] = input,
    show: Callable[[str], object] = print,
) -> bool:
    """Show what will happen and have a person agree.

    Args:
        yes: agreed to on the command line; nothing is asked.
        read: asks a question and returns the answer.
        show: shows the summary.
    Raises:
        UserError: nobody is there to agree and --yes was not given.
    """
    show(summary)
    sys.stdout.flush()
    if yes:
        return True
    if not is_terminal:
        raise UserError("this cannot be undone; add --yes to agree to it without being asked")
    try:
        answer = read(f"{question} [y/N] ")
    except EOFError:  # Ctrl-D
        print(flush=True)
        return False
    return answer.strip().lower() in ("y", "yes")
