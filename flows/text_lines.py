"""Lines of at most 100 columns for a terminal."""

from __future__ import annotations

import textwrap

WIDTH = 100
KEY_WIDTH = 14


def hanging(head: str, text: str, width: int = WIDTH) -> list[str]:
    """`text` after `head`, its further lines below its first.

    >>> hanging("a: ", "one two", 8)
    ['a: one', '   two']
    """
    return textwrap.wrap(
        text, width, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    ) or [head.rstrip()]


def time_text(at: str) -> str:
    """A record's time for people.

    >>> time_text("2026-11-21T08:00:00Z")
    '2026-11-21 08:00:00 UTC'
    """
    return at.replace("T", " ").replace("Z", " UTC")


def keyed(key: str, text: str) -> list[str]:
    """A line that begins with what it is about."""
    return hanging(key.ljust(KEY_WIDTH), text)
