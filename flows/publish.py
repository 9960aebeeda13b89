"""The outward acts of a qualified run: the release goes into the store, the split into memory."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from flows.inputs import memory_path
from flows.state import StateMoved, StateRef
from flows.store import publish_release
from tasks.params import Params
from tasks.splitting import split_memory
from tasks.tables import SPLIT_MEMORY, SPLITS, parse_table, read_table, table_bytes
from tasks.workspace import Workspace

ATTEMPTS = 5


def publish(workspace: Workspace, params: Params) -> Path:
    """Copy the release into the store, then remember its split; both may be repeated without harm.

    Returns:
        the release's folder in the store.
    Raises:
        NotQualified, ReleaseError: see `flows.store`.
        StateMoved: other runs kept moving the state.
    """
    release = publish_release(workspace.release, workspace.qualification, workspace.resolve(params.publish.store))
    remember_split(workspace, params)
    return release


def remember_split(workspace: Workspace, params: Params) -> None:
    """Append this run's sides to refs/graft/state; nothing is written where nothing is new."""
    splits = read_table(workspace.splits, SPLITS)
    state, path = StateRef(workspace.root), memory_path(params)
    for attempt in range(ATTEMPTS):
        head = state.head()
        old = state.read(path, head)
        known = parse_table(old, SPLIT_MEMORY, path) if old else SPLIT_MEMORY.empty_table()
        new = table_bytes(merged_memory(known, splits))
        if new == old:
            return
        try:
            state.write({path: new}, f"Remember the split of {splits.num_rows} items", head)
            return
        except StateMoved:
            if attempt == ATTEMPTS - 1:
                raise


def merged_memory(known: pa.Table, splits: pa.Table) -> pa.Table:
    """What was known and what this split says; content that is no longer there is kept."""
    return split_memory(splits, known)
