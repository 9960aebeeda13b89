"""`graft backbone add`: weights of the user's own, brought under DVC so that every checkout can have them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from flows.options import WorkspaceOption
from tasks.errors import WeightsError, counted
from tasks.stage import say
from tasks.workspace import Workspace, expanded

backbone_app = typer.Typer(help="Bring weights of a pretrained network under DVC.", no_args_is_help=True)


@backbone_app.command("add")
def backbone_add(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .pth, .pt or .safetensors file with a state dict.")],
    architecture: Annotated[
        str | None, typer.Option("--architecture", metavar="NAME", help="Whose weights; default: backbone.name.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Copy weights into models/weights under DVC and point backbone.weights there, if they fit the architecture."""
    for line in add_weights(Workspace.find(workspace), expanded(file), architecture):
        say(line)


def add_weights(workspace: Workspace, source: Path, architecture: str | None = None) -> list[str]:
    """Take a weights file in; the same file again changes nothing.

    Returns:
        what was done, for a person, with the change of params.yaml.
    Raises:
        WeightsError: no such file, no state dict, or one of another architecture; nothing was copied.
        WorkspaceError: a run holds the workspace, or DVC refuses.
    """
    from flows.dvc_commands import ensure_dvc, run_dvc
    from flows.params_file import Edit, edit_params
    from flows.workspace_lock import workspace_lock
    from tasks.digests import file_sha256
    from tasks.params import load_params
    from tasks.reports.document import replacing

    file = source.absolute()
    name = architecture or load_params(workspace.params).backbone.name
    tensors = _checked(file, name, workspace)
    target = workspace.weights_folder / file.name
    with workspace_lock(workspace, "backbone-add") as mended:
        for line in [*mended, *ensure_dvc(workspace)]:
            say(line)
        if not target.exists():
            with replacing(target) as draft:
                shutil.copyfile(file, draft)
        elif file_sha256(target) != file_sha256(file):
            raise WeightsError(
                f"{workspace.relative(target)} is there already with other content; give the file another name"
            )
        shown = workspace.relative(target)
        run_dvc(workspace, "add", shown)
        _, diff = edit_params(workspace, [Edit(("backbone", "name"), name), Edit(("backbone", "weights"), shown)])
    done = f"{shown} is under DVC as {shown}.dvc ({name}, {counted(tensors, 'tensor')}); commit that file with git"
    return [done, diff.rstrip() or "params.yaml names them already"]


def _checked(file: Path, name: str, workspace: Workspace) -> int:
    """How many tensors the file holds; it is read as a run would read it, and fitted into the network."""
    from tasks.backbones.bodies import body_of
    from tasks.backbones.registry import find_backbone
    from tasks.backbones.weights import SUFFIXES, load, locate
    from tasks.params import load_params

    if not file.name.endswith(SUFFIXES):
        raise WeightsError(f"{file} must end in one of {', '.join(SUFFIXES)}")
    params = load_params(workspace.params).backbone
    changed = params.model_copy(update={"name": find_backbone(name).name, "weights": str(file)})
    weights = load(changed, locate(changed, workspace.root))
    body_of(find_backbone(name), weights)
    return len(weights.state or ())
