"""What a version's run left in git: params.yaml and, in published/, what was judged."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from flows.records import VersionRecord
from flows.state import run_git
from tasks.errors import StageInputError
from tasks.reports.document import Report

ReportT = TypeVar("ReportT", bound=Report)


def version_file(root: Path, record: VersionRecord, path: str) -> bytes | None:
    """Content of a file of the run's commit; None where the version has no commit, or it is not in this repository.

    Args:
        root: the workspace, at which `path` starts.
    """
    if record.commit is None:
        return None
    shown = run_git(root, "show", f"{record.commit}:./{path}", check=False)
    return shown.stdout if shown.returncode == 0 else None


def version_report(root: Path, record: VersionRecord, name: str, kind: type[ReportT]) -> ReportT | None:
    """What was judged, such as `gate.json`; None where it cannot be had or read."""
    data = version_file(root, record, f"published/{name}")
    try:
        return None if data is None else kind.parse(data, name)
    except StageInputError:
        return None
