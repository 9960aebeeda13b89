"""Everything that the flow does before its first stage, so that bare stages and `dvc repro` can run here.

python -m benchmarks.prepared_workspace PHOTOS [section.key=value ...] [--graph]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.desk import prepare_data
from flows.dvc_commands import ensure_dvc
from flows.inputs import write_inputs
from flows.params_file import data_edits, edited_params, parse_override
from tasks.backbones.graph import cached_backbone
from tasks.params import load_params
from tasks.workspace import Workspace


def prepare(workspace: Workspace, photos: str, overrides: list[str]) -> None:
    """Set up DVC, edit params.yaml and write the pinned inputs."""
    ensure_dvc(workspace)
    edits = data_edits(photos, workspace, workspace.root)
    edits += [parse_override(text, workspace, workspace.root) for text in overrides]
    edited = edited_params(workspace, edits)
    if edited.diff:
        edited.keep()
    params = load_params(workspace.params)
    prepare_data(workspace, params)
    write_inputs(workspace, params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--graph", action="store_true", help="also export the backbone's graph into the cache")
    arguments = parser.parse_args()
    workspace = Workspace.find(Path.cwd())
    prepare(workspace, arguments.photos, arguments.overrides)
    if arguments.graph:
        cached_backbone(load_params(workspace.params).backbone, workspace.root, workspace.cache)


if __name__ == "__main__":
    main()
