"""Which contents a release was trained and tested on, kept on refs/graft/state for each release that was published."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from flows.state import StateRef
from tasks.release import MANIFEST
from tasks.tables import RELEASE_ITEMS, parse_table, table_bytes

FOLDER = "items"
DIGEST = re.compile(r"[0-9a-f]{64}")
_STRICTEST = ("test", "validation", "train")


@dataclass(frozen=True)
class Use:
    """A release and the sides on which it had the items; no sides: unknown, it was published before this was kept."""

    digest: str
    stored: bool
    sides: Sequence[str] | None


def items_path(digest: str) -> str:
    """Where the state keeps the items of the release with this manifest digest."""
    return f"{FOLDER}/{digest}.parquet"


def items_bytes(splits: pa.Table) -> bytes:
    """The items of a release from its splits.parquet; what was left out had no part in it."""
    sides: dict[bytes, str] = {}
    for sha256, side in zip(splits["sha256"].to_pylist(), splits["side"].to_pylist(), strict=True):
        content = bytes.fromhex(sha256)
        if side in _STRICTEST:
            known = sides.get(content, side)
            sides[content] = min(known, side, key=_STRICTEST.index)
    rows = sorted(sides)
    return table_bytes(pa.table({"sha256": rows, "side": [sides[row] for row in rows]}, schema=RELEASE_ITEMS))


def uses_of(state: StateRef, store: Path, contents: Collection[str]) -> list[Use]:
    """Every release that is known or stored and had one of `contents` (sha256), and those of which it is unknown.

    Args:
        store: the release store, which need not exist.
    Raises:
        WorkspaceError: the state cannot be read.
        StageInputError: a record is damaged.
    """
    head, wanted = state.head(), {bytes.fromhex(content) for content in contents}
    stored = {path.name for path in store.glob("*") if DIGEST.fullmatch(path.name) and (path / MANIFEST).is_file()}
    recorded = {Path(path).stem for path in state.paths(FOLDER, head)}
    uses = []
    for digest in sorted(stored | recorded):
        record = state.read(items_path(digest), head) if digest in recorded else None
        if record is None:
            uses.append(Use(digest, True, None))
            continue
        table = parse_table(record, RELEASE_ITEMS, f"the state's {items_path(digest)}")
        pairs = zip(table["sha256"].to_pylist(), table["side"].to_pylist(), strict=True)
        sides = sorted({side for content, side in pairs if content in wanted})
        if sides:
            uses.append(Use(digest, digest in stored, sides))
    return uses


def use_lines(uses: Sequence[Use], store: str) -> list[str]:
    """The uses for a person, trained ones first."""
    lines = []
    for title, keep in (
        ("releases trained on it", lambda use: use.sides and set(use.sides) & {"train", "validation"}),
        ("releases tested on it", lambda use: use.sides == ["test"]),
        ("unknown for releases published by an earlier Graft", lambda use: use.sides is None),
    ):
        found = [use for use in uses if keep(use)]
        lines += [f"{title}:"] if found else []
        lines += [f"  {store}/{use.digest}{'' if use.stored else ' (no longer there)'}{_sides(use)}" for use in found]
    return lines or ["no release was trained or tested on it"]


def _sides(use: Use) -> str:
    return f" ({', '.join(use.sides)})" if use.sides else ""
