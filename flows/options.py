"""Options that several commands of the command line share, and what they change in params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.params_file import Edit, data_edits, parse_override
from tasks.workspace import Workspace

SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="section.key=value", help="Change params.yaml; may be repeated.")
]
DataOption = Annotated[str | None, typer.Option("--data", metavar="PATH", help="Folder or table of labelled images.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; everything else on stderr.")]
LogFormatOption = Annotated[
    str | None, typer.Option("--log-format", metavar="text|json", help="Lines on stderr; default: params.yaml's.")
]
WorkspaceOption = Annotated[
    Path | None, typer.Option("--workspace", metavar="DIR", help="The workspace; default: the one you stand in.")
]


def wanted_edits(workspace: Path | None, data: str | None, overrides: list[str] | None) -> tuple[Workspace, list[Edit]]:
    """The workspace and what --data and --set change in its params.yaml."""
    here, caller = Workspace.find(workspace), Path.cwd()
    edits = data_edits(data, here, caller) if data is not None else []
    return here, edits + parse_overrides(overrides, here, caller)


def parse_overrides(overrides: list[str] | None, workspace: Workspace, caller: Path) -> list[Edit]:
    """Every --set, as an edit."""
    return [parse_override(text, workspace, caller) for text in overrides or []]
