"""Runs that were measured already: one JSON line each, so that an interrupted measurement goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Key = dict[str, str | int | float]
Told = dict[str, Any]


class KeptRuns:
    """A file of runs, `{"key": ..., "told": ...}` a line. Processes may append to it side by side."""

    def __init__(self, file: Path | None) -> None:
        self.file = file

    def find(self, key: Key) -> Told | None:
        """What the run of this key told; the last one where there are several."""
        found = [line["told"] for line in self._lines() if line["key"] == key]
        return found[-1] if found else None

    def run(self, key: Key, measure: Callable[[], Told]) -> Told:
        """The kept run of this key, or a new one, which is kept at once."""
        kept = self.find(key)
        if kept is not None:
            return kept
        told = measure()
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as out:
                # The newline in front ends the half line of a process that was killed while it wrote.
                out.write("\n" + json.dumps({"key": key, "told": told}) + "\n")
        return told

    def _lines(self) -> list[dict[str, Any]]:
        if self.file is None or not self.file.exists():
            return []
        lines = []
        for text in self.file.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue
        return lines
