"""The outward acts of a qualified run: items on record, the release into the store, the split into memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from flows.inputs import memory_path
from flows.release_items import items_bytes, items_path
from flows.signing import configured_key
from flows.state import StateMoved, StateRef
from flows.store import publish_release
from tasks.params import Params
from tasks.release import manifest_sha256
from tasks.splitting import split_memory
from tasks.tables import SPLIT_MEMORY, SPLITS, parse_table, read_table, table_bytes
from tasks.workspace import Workspace

ATTEMPTS = 5


def publish(workspace: Workspace, params: Params) -> Path:
    """Record the release's items, copy it into the store, then remember its split; all may be repeated without harm.

    The record comes first: a record without its release says nothing wrong, a release without one is unknown for ever.

    Returns:
        the release's folder in the store.
    Raises:
        NotQualified, ReleaseError: see `flows.store`.
        UserError: the signing key cannot be used.
        StateMoved: other runs kept moving the state.
    """
    record_items(workspace)
    store, key = workspace.store(params.publish.store), configured_key(workspace, params)
    release = publish_release(workspace.release, workspace.qualification, store, key)
    remember_split(workspace, params)
    return release


def record_items(workspace: Workspace) -> None:
    """Write down on refs/graft/state which contents this release was trained and tested on."""
    splits, digest = read_table(workspace.splits, SPLITS), manifest_sha256(workspace.release)
    new = items_bytes(splits)
    _put(workspace, items_path(digest), lambda _: new, f"Record the items of release {digest[:12]}")


def remember_split(workspace: Workspace, params: Params) -> None:
    """Append this run's sides to refs/graft/state; nothing is written where nothing is new."""
    splits, path = read_table(workspace.splits, SPLITS), memory_path(params)

    def merged(old: bytes | None) -> bytes:
        known = parse_table(old, SPLIT_MEMORY, path) if old else SPLIT_MEMORY.empty_table()
        return table_bytes(merged_memory(known, splits))

    _put(workspace, path, merged, f"Remember the split of {splits.num_rows} items")


def _put(workspace: Workspace, path: str, content: Callable[[bytes | None], bytes], message: str) -> None:
    """Make a file of the state what `content` makes of what it was; read again where another run came between."""
    state = StateRef(workspace.root)
    for attempt in range(ATTEMPTS):
        head = state.head()
        old = state.read(path, head)
        new = content(old)
        if new == old:
            return
        try:
            state.write({path: new}, message, head)
            return
        except StateMoved:
            if attempt == ATTEMPTS - 1:
                raise


def merged_memory(known: pa.Table, splits: pa.Table) -> pa.Table:
    """What was known and what this split says; content that is no longer there is kept."""
    return split_memory(splits, known)
