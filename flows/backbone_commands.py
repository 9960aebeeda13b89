"""`graft backbone add`: weights of the user's own, brought under DVC so that every checkout can have them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import Field

from flows.options import JsonOption, WorkspaceOption
from tasks.errors import WeightsError, counted
from tasks.reports.document import Report
from tasks.stage import say
from tasks.workspace import Workspace, expanded

backbone_app = typer.Typer(help="Bring weights of a pretrained network under DVC.", no_args_is_help=True)


@backbone_app.command("add")
def backbone_add(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .pth, .pt or .safetensors file with a state dict.")],
    architecture: Annotated[
        str | None, typer.Option("--architecture", metavar="NAME", help="Whose weights; default: backbone.name.")
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Copy weights into models/weights under DVC and point backbone.weights there, if they fit the architecture."""

    def added() -> AddedWeights:
        return add_weights(Workspace.find(workspace), expanded(file), architecture)

    if as_json:
        from flows.endings import answer_of

        ended, code = answer_of(added, lambda state, reasons: AddedWeights(state=state, reasons=reasons))
        print(ended.to_json(), end="", flush=True)
        raise SystemExit(code or 0)
    for line in added().lines():
        say(line)


class AddedWeights(Report):
    """What `graft backbone add` did: the answer of --json."""

    state: Literal["added", "refused", "failed", "interrupted"] = "added"
    reasons: list[str] = Field(default=[], description="Why not.")
    file: str | None = Field(None, description="Where the weights lie now, below the workspace.")
    dvc_file: str | None = Field(None, description="What DVC tracks them by; it belongs into git.")
    architecture: str | None = None
    tensors: int | None = None
    diff: str = Field("", description="The change of params.yaml; empty where it named them already.")

    def lines(self) -> list[str]:
        """For a person."""
        tracked = f"{self.file} is under DVC as {self.dvc_file} ({self.architecture}, "
        done = f"{tracked}{counted(self.tensors or 0, 'tensor')}); commit that file with git"
        return [done, self.diff or "params.yaml names them already"]


def add_weights(workspace: Workspace, source: Path, architecture: str | None = None) -> AddedWeights:
    """Take a weights file in; the same file again changes nothing.

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
    return AddedWeights(file=shown, dvc_file=f"{shown}.dvc", architecture=name, tensors=tensors, diff=diff.rstrip())


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
