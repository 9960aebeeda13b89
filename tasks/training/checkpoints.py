"""Where a training was, on disk: written after every epoch, complete or absent, and never another training's."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from tasks.reports.document import replacing
from tasks.stage import say

_KIND = b"graft training 1\n"
_HEADER = len(_KIND) + 32


class Checkpoints:
    """The folder of one training, named after the digest of all that determines its result.

    `state` is where the last whole epoch ended, `best-<epoch>` the weights of the best one so far, `judged-<epoch>` the
    judged items' logits, written once; `outcome` is what a finished training gave, and replaces the others.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._judged: set[str] = set()

    def outcome(self) -> dict[str, Any] | None:
        """What this training gave when it was finished earlier; None: it was not. Its file's time says when it was
        last of use."""
        found = self._read("outcome")
        if found is not None:
            with suppress(OSError):
                os.utime(self._path("outcome"))
        return found

    def state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """The last whole epoch's end with all `judged` logits, and the best weights; None: training starts anew."""
        state = self._read("state")
        if state is None:
            return None
        best = self._read(f"best-{state['best']}") if state["best"] else {}
        names = _judged_names(state["judged"])
        judged = [found["logits"] for name in names if (found := self._read(name)) is not None]
        if best is None or len(judged) < len(names):
            return None
        self._judged = set(names)
        return {**state, "judged": judged}, best

    def keep(
        self, state: dict[str, Any], best: dict[str, torch.Tensor] | None, judged: Sequence[torch.Tensor] = ()
    ) -> None:
        """Write an epoch's end.

        Args:
            best: its weights where it is the best one.
            judged: logits of every epoch from the start on; only those that are not on disk yet are written.
        """
        names = _judged_names(len(judged))
        for name, logits in zip(names, judged, strict=True):
            if name not in self._judged:
                if not self._write(name, {"logits": logits}):
                    return
                self._judged.add(name)
        if best is not None and not self._write(f"best-{state['best']}", best):
            return
        if self._write("state", {**state, "judged": len(judged)}):
            # Another process may be doing the same training, and have finished it.
            self._remove(but={"outcome", "state", f"best-{state['best']}", *names})

    def finish(self, outcome: dict[str, Any]) -> None:
        if self._write("outcome", outcome):
            self._remove(but={"outcome"})

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.pt"

    def _write(self, name: str, value: dict[str, Any]) -> bool:
        """Whether it was written; training does not end for want of a checkpoint."""
        buffer = io.BytesIO()
        torch.save(value, buffer)
        data = buffer.getbuffer()
        try:
            with replacing(self._path(name)) as draft, draft.open("wb") as file:
                file.writelines((_KIND, hashlib.sha256(data).digest(), data))
        except OSError as err:
            say(f"{self._path(name)} cannot be written ({err.strerror}); training goes on without it", "warning")
            return False
        return True

    def _read(self, name: str) -> dict[str, Any] | None:
        """None where there is no such file, or one that is damaged: torch.load itself does not notice changed bytes."""
        path = self._path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as err:
            say(f"{path} cannot be read ({err.strerror}) and is ignored", "warning")
            return None
        kind, digest, data = content[: len(_KIND)], content[len(_KIND) : _HEADER], memoryview(content)[_HEADER:]
        if kind != _KIND or hashlib.sha256(data).digest() != digest:
            say(f"{path} is damaged and is ignored", "warning")
            return None
        try:
            value: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except (RuntimeError, UnpicklingError, EOFError) as err:
            say(f"{path} cannot be read ({' '.join(str(err).split())[:200]}) and is ignored", "warning")
            return None
        return value

    def _remove(self, but: set[str]) -> None:
        for path in self._folder.glob("*.pt"):
            if path.stem not in but:
                path.unlink(missing_ok=True)


def _judged_names(rows: int) -> list[str]:
    return [f"judged-{epoch}" for epoch in range(rows)]
