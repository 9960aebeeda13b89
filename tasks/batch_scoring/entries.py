"""One file to score, as a line of a listing."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tasks.tree import entry_fault


@dataclass(frozen=True, slots=True)
class Entry:
    """One file to score, or what stands in its place.

    Attributes:
        path: as the answer names it: relative to the root, with forward slashes.
        size, changed_ns: bytes, and the time of the last change; -1 where unknown.
        label: what the table says.
        fault: why it cannot be read at all.
    """

    path: str
    size: int = -1
    changed_ns: int = -1
    label: str | None = None
    fault: str | None = None

    def line(self) -> bytes:
        """One line of a listing; `entry_of` reads it back."""
        fields = [self.path, self.size, self.changed_ns, self.label, self.fault]
        return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def entry_of(line: bytes) -> Entry:
    """The entry of a listing's line."""
    return Entry(*json.loads(line))


def entry_of_file(path: str, place: Path, info: os.stat_result, label: str | None = None) -> Entry:
    """The entry of what lies at `place`, by lstat's result; with its fault where it is no readable regular file."""
    if fault := entry_fault(path, place, info.st_mode):
        return Entry(fault.path, label=label, fault=fault.reason)
    return Entry(path, info.st_size, info.st_mtime_ns, label)
