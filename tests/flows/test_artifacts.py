"""What a run shows in Prefect names places that are still there when somebody looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import artifacts
from tasks.workspace import Workspace


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The markdown of every artifact."""
    texts: list[str] = []

    def keep(key: str, markdown: str, **_: Any) -> None:
        texts.append(markdown)

    monkeypatch.setattr(artifacts, "create_markdown_artifact", keep)
    return texts


def test_the_report_of_a_run_in_a_worktree_is_named_where_the_checkout_keeps_it(
    tmp_path: Path, shown: list[str]
) -> None:
    home, run = tmp_path / "checkout", Workspace(tmp_path / "checkout" / ".graft" / "worktrees" / "run-1")
    run.private.mkdir(parents=True)
    (run.private / "home").write_text(f"{home}\n")
    artifacts.show_report(run, "run-1")
    assert shown[0].startswith(f"`{home / '.graft' / 'runs' / 'run-1' / 'report.html'}` on ")


def test_the_report_of_a_run_at_the_desk_is_named_where_it_lies(tmp_path: Path, shown: list[str]) -> None:
    artifacts.show_report(Workspace(tmp_path), "run-1")
    assert shown[0].startswith(f"`{tmp_path / 'reports' / 'report.html'}` on ")
