"""The registry of a fresh clone: `git clone` brings branches and tags, and not refs/graft/state."""

from __future__ import annotations

from tasks.params import Params
from tasks.stage import say
from tasks.workspace import Workspace


def fetch_unknown_registry(workspace: Workspace, params: Params) -> None:
    """Take over the remote's registry where this repository knows no version, and has never seen the remote's.

    It waits for a bounded time, and says in a line what it did; a remote that does not answer is a warning.

    Raises:
        WorkspaceError, StageInputError: the registry here cannot be read.
    """
    from flows.pushing import fetch_state, git_remotes
    from flows.remote_registry import pushed_versions
    from flows.versions import versions

    root, remote = workspace.root, params.publish.git_remote
    if versions(root) or remote not in git_remotes(root) or pushed_versions(root, remote):
        return
    if unknown := fetch_state(workspace, params):
        say(unknown, "warning")
    elif found := len(versions(root)):
        say(f"fetched the registry of {remote}: {found} published version{'s' if found > 1 else ''}")
