"""Which release a command works with: the one in production, a version of the registry, or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.prod_pointer import read_prod
from flows.served_release import stored_servable
from flows.signing import configured_trust
from flows.state import in_git
from flows.versions import find_version, versions
from tasks.errors import UserError, WorkspaceError
from tasks.params import Params, load_params
from tasks.servable import Servable, open_servable
from tasks.workspace import Workspace, expanded


@dataclass(frozen=True)
class ChosenRelease:
    """A release that held every check, and its number in the registry where that was asked."""

    servable: Servable
    version: int | None


def params_around(workspace: Path | None, needed: bool) -> tuple[Workspace | None, Params]:
    """The workspace and its params; without a workspace, where none is needed, what params are by themselves.

    Raises:
        WorkspaceError: there is none, and it is needed or was named.
        ParamsError: its params.yaml is wrong.
    """
    try:
        here = Workspace.find(workspace)
    except UserError as err:
        if workspace is not None:
            raise
        if needed:
            raise WorkspaceError(f"{err}; or name a release's folder with --release") from err
        return None, Params()
    return here, load_params(here.params)


def choose_release(here: Workspace | None, params: Params, release: Path | None, version: str | None) -> ChosenRelease:
    """Find a release and check it as a server does before it serves one.

    Args:
        release: a folder; the registry is not asked.
        version: `v3`, `3` or how a digest begins. Neither: what is in production.
    Raises:
        UserError: both are given, or there is no such folder or version, or nothing is in production.
        ReleaseError: it is damaged, not qualified, not signed as asked for, or answers otherwise than at its export.
    """
    if release is not None:
        if version is not None:
            raise UserError("--release names a folder and --version a version of the registry; give one of them")
        folder = expanded(release)
        if not folder.is_dir():
            raise UserError(f"--release {release}: there is no such folder; name one of the release store")
        return ChosenRelease(_from_folder(here, params, folder.absolute()), None)
    if here is None:
        raise UserError("there is no workspace here; name the release's folder (--release)")
    trust, store = configured_trust(here, params), here.store(params.publish.store)
    if version is not None:
        found = find_version(here.root, version)
        return ChosenRelease(stored_servable(store, found.manifest_sha256, trust), found.version)
    pointer = read_prod(store)
    if pointer is None:
        raise UserError(
            f"nothing is in production in {store}; put a version there (graft promote VERSION --reason TEXT), or name "
            "one with --version or --release"
        )
    return ChosenRelease(stored_servable(store, pointer.manifest_sha256, trust), pointer.version)


def _from_folder(here: Workspace | None, params: Params, folder: Path) -> Servable:
    """A release's folder; the workspace's own has its qualification among the reports."""
    if here is None:
        return open_servable(folder)
    beside = here.qualification if folder.resolve() == here.release.resolve() else None
    return open_servable(folder, verify_key=configured_trust(here, params), qualification=beside)


def number_of(here: Workspace | None, chosen: ChosenRelease) -> int:
    """A release's number in the registry; 1 of one that was never published."""
    if chosen.version is not None or here is None or not in_git(here.root):
        return chosen.version or 1
    same = [one.version for one in versions(here.root) if one.manifest_sha256 == chosen.servable.digest]
    return same[0] if same else 1
