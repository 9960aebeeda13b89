"""`graft plan`: the outlook with tentative edits, without keeping them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from flows.champion_pin import wanted_pin
from flows.dvc_commands import ensure_dvc
from flows.limits import shortfalls
from flows.outlook import Outlook, Step, look_ahead, publish_step
from flows.params_file import Edit, edited_params
from flows.tentative import tried
from flows.workspace_lock import workspace_lock
from tasks.overlay import corrections_bytes, forgotten_bytes
from tasks.params import Params
from tasks.reports import write_bytes
from tasks.sample import sample_is_current
from tasks.stage import say
from tasks.tree import check_tree
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Plan:
    """What a run would do, publish last, and what this machine is short of for it, one line each."""

    steps: list[Step]
    short: list[str]


def plan_here(workspace: Workspace, edits: Sequence[Edit]) -> Plan:
    """Every stage with the reasons why it would run; params.yaml ends as it was.

    Raises:
        UserError: the params, the data or the workspace are not ready.
    """
    with workspace_lock(workspace, "plan") as mended:
        for line in mended:
            say(line)
        edited = edited_params(workspace, edits)
        if not edits:
            edited.keep()
        trial = tried(workspace, edited.text, say) if edits and edited.diff else nullcontext()
        with trial, restored(workspace, bool(edits)):
            ahead = _outlook(workspace, edited.params)
            steps = [*ahead.steps, publish_step(ahead)]
            due = [step.stage for step in steps if step.reasons]
            return Plan(steps, shortfalls(workspace, edited.params, due))


def _outlook(workspace: Workspace, params: Params) -> Outlook:
    ensure_dvc(workspace)
    stale = _sample_is_stale(workspace, params)
    if not stale:
        check_tree(workspace.resolve(params.data.path))
    ahead = look_ahead(workspace, params, "plan", wanted_pin(workspace, params))
    if not stale:
        return ahead
    first, *others = ahead.steps
    return Outlook([Step(first.stage, [*first.reasons, "the embedded sample is written anew"]), *others], None)


def _sample_is_stale(workspace: Workspace, params: Params) -> bool:
    data, sample = workspace.resolve(params.data.path), params.sample
    return data == workspace.sample and not sample_is_current(data, sample.labels_per_class, sample.seed)


@contextmanager
def restored(workspace: Workspace, tentative: bool) -> Iterator[None]:
    """Put the pinned inputs back as they were, where the block only tried something.

    Of the files that people write, only one that the block made goes again; what a person saves meanwhile stays.
    """
    pins = [workspace.engine, workspace.weights_pin, workspace.source_pin, workspace.splits_lock]
    pins += [workspace.champion_pin, workspace.test_use]
    before = {path: path.read_bytes() if path.is_file() else None for path in (pins if tentative else [])}
    headers = {workspace.corrections: corrections_bytes(), workspace.forgotten: forgotten_bytes()}
    absent = [path for path in headers if tentative and not path.exists()]
    try:
        yield
    finally:
        for path, data in before.items():
            if data is None:
                path.unlink(missing_ok=True)
            elif path.read_bytes() != data:
                write_bytes(path, data)
        for path in absent:
            if path.is_file() and path.read_bytes() == headers[path]:
                path.unlink()
