"""`graft push`: what was published here and has not reached the remotes yet."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.options import JsonOption, WorkspaceOption
from tasks.stage import say
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from flows.pushing import Pushed


def push(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Push data, models, run branches, tags and the registry to the remotes that params.yaml names.

    A run that publishes does so itself; this is for when the remote did not answer then. Exit code 0: all is there, or
    there is no remote. 1: it is not, or something failed; with --json `not_pushed` says so too.
    """
    from flows.endings import answer_of
    from flows.pushing import Pushed

    if as_json:
        ended, code = answer_of(lambda: _pushed(workspace), lambda _, reasons: Pushed(False, "\n".join(reasons)))
        print(json.dumps({"pushed": ended.pushed, "not_pushed": ended.not_pushed, "done": list(ended.done)}))
    else:
        ended, code = _pushed(workspace), None
        for line in ended.done:
            print(f"pushed {line}")
        print("everything is pushed" if ended.pushed else f"not pushed: {ended.not_pushed}")
    sys.stdout.flush()
    sys.exit(int(ended.pushed is False) if code is None else code)


def _pushed(workspace: Path | None) -> Pushed:
    from flows.desk import new_run_id
    from flows.pushing import push_pending
    from flows.workspace_lock import workspace_lock
    from tasks.params import load_params

    here = Workspace.find(workspace)
    params = load_params(here.params)
    with workspace_lock(here, new_run_id()) as mended:
        for line in mended:
            say(line)
        return push_pending(here, params)
