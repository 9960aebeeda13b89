"""What interrupted writes left behind: files that `replacing` had begun and whose writer is gone."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from flows.processes import lived_at

_DRAFT = re.compile(r"^\..+\.(\d+)(-\d+)?\.tmp$")
"""How `replacing` names a file that it has not finished: with the pid of its writer."""


def is_draft(name: str) -> bool:
    """Whether a file's name is that of a draft, finished by nobody yet."""
    return _DRAFT.match(name) is not None


def dead_drafts(folder: Path, spared: Collection[Path] = ()) -> Iterator[Path]:
    """Every draft below `folder`, but for the folders `spared`, that no living process writes."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(parent, name) not in spared]
        for name in files:
            if match := _DRAFT.match(name):
                draft = Path(parent, name)
                with suppress(FileNotFoundError):  # finished meanwhile
                    if not lived_at(int(match[1]), draft.lstat().st_mtime):
                        yield draft
