"""Values of params.yaml that are only tried: put back afterwards, by the next command where a kill came between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.errors import StageInputError
from tasks.reports import Report, write_bytes
from tasks.workspace import Workspace


class Tentative(Report):
    """.graft/tentative.json: params.yaml as it was, and as it is while something is tried."""

    before: str
    tried: str


@contextmanager
def tried(workspace: Workspace, text: str, say: Callable[[str], None]) -> Iterator[None]:
    """Have `text` as params.yaml for the block; the caller holds the workspace's lock.

    Args:
        say: told where somebody else wrote the file meanwhile, so that it stays.
    """
    before = workspace.params.read_bytes().decode("utf-8")
    Tentative(before=before, tried=text).write(_backup(workspace))
    try:
        write_bytes(workspace.params, text.encode())
        yield
    finally:
        if not _undone(workspace):
            say(f"params.yaml was changed while values were tried in it; {STAYS}")


STAYS = "it stays as it is: look through it for values that were only tried"


def put_back(workspace: Workspace) -> list[str]:
    """Undo what a killed `graft plan` had tried; one line if there was anything. The caller holds the lock."""
    if not _backup(workspace).is_file():
        return []
    if _undone(workspace):
        return ["an interrupted `graft plan` had tried values in params.yaml: it is as before now"]
    return [f"params.yaml was changed after an interrupted `graft plan` had tried values in it; {STAYS}"]


def _undone(workspace: Workspace) -> bool:
    """Whether params.yaml is as before; False where somebody else has written it meanwhile, whose work stays."""
    backup, now = _backup(workspace), b""
    try:
        kept = Tentative.read(backup)
    except StageInputError:
        backup.unlink(missing_ok=True)
        return False
    with suppress(FileNotFoundError):
        now = workspace.params.read_bytes()
    if now == kept.tried.encode():
        write_bytes(workspace.params, kept.before.encode())
    backup.unlink(missing_ok=True)
    return now in (kept.before.encode(), kept.tried.encode())


def _backup(workspace: Workspace) -> Path:
    return workspace.private / "tentative.json"
