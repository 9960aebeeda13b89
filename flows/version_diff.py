"""What differs between two published versions."""

from __future__ import annotations

from typing import Any

from flows.release_items import items_path
from flows.state import StateRef
from flows.version_params import differing
from flows.version_view import VersionView
from tasks.reports.document import Record, Report
from tasks.reports.estimate import Estimate
from tasks.tables import RELEASE_ITEMS, parse_table
from tasks.workspace import Workspace


class Changed(Record):
    """A value in the first version and in the second; null: it is not there."""

    old: Any
    new: Any


class MetricChange(Record):
    """`difference` is new - old of values that were measured on the test items of each; not a paired comparison."""

    old: Estimate
    new: Estimate
    difference: float


class ItemChange(Record):
    """Counts of items by content: what the second version has and the first has not, and the other way round.

    Attributes:
        moved: items that changed their side between train, validation and test.
        test_added, test_removed: of the test items; where both are 0, both versions were measured on the same items.
    """

    old: int
    new: int
    added: int
    removed: int
    moved: int
    test_added: int
    test_removed: int


class VersionDiff(Report):
    """`graft diff --json`. What is equal is left out of the dictionaries.

    Attributes:
        params: {"section.key": {old, new}} of those that make the result; null where a version's cannot be told.
        settings: the same of all others: paths, machine, publishing, and what the data's digest tells of.
        digests: of code, lock, backbone and the like, from the manifests; null where a release is gone.
        classes_added, classes_removed: labels; null likewise.
        items: null where the state does not hold both versions' items.
        same_champion: both were judged against the same release.
    """

    old: int
    new: int
    metrics: dict[str, MetricChange]
    params: dict[str, Changed] | None
    settings: dict[str, Changed] | None
    data_digest: Changed | None
    digests: dict[str, Changed] | None
    graft_version: Changed | None
    classes_added: list[str] | None
    classes_removed: list[str] | None
    items: ItemChange | None
    same_champion: bool
    missing: list[str]


SOURCES = ("code", "lock", "backbone_weights", "backbone_graph", "params", "adapted")


def diff_of(workspace: Workspace, old: VersionView, new: VersionView) -> VersionDiff:
    """What differs, old to new; what cannot be told is named in `missing`."""
    digests = None
    if old.digests and new.digests:
        before, after = old.digests.model_dump(), new.digests.model_dump()
        digests = _changes({name: before[name] for name in SOURCES}, {name: after[name] for name in SOURCES})
    items = items_between(workspace, old.manifest_sha256, new.manifest_sha256)
    told = [f"v{view.version}: {line}" for view in (old, new) for line in view.missing]
    return VersionDiff(
        old=old.version,
        new=new.version,
        metrics={name: _metric(getattr(old, name), getattr(new, name)) for name in ("accuracy", "macro_f1")},
        params=_changes_or_none(old.params, new.params),
        settings=_changes_or_none(old.settings, new.settings),
        data_digest=_change(old.data_digest, new.data_digest),
        digests=digests,
        graft_version=_change(old.graft_version, new.graft_version),
        classes_added=_more(new.labels, old.labels),
        classes_removed=_more(old.labels, new.labels),
        items=items,
        same_champion=old.champion == new.champion,
        missing=told if items else [*told, "the items of both are not on record: they cannot be compared"],
    )


def items_between(workspace: Workspace, old: str, new: str) -> ItemChange | None:
    """How the items of two releases differ, by content; None where one is not on record."""
    before, after = (_sides(workspace, digest) for digest in (old, new))
    if before is None or after is None:
        return None
    tested_before, tested_after = ({item for item, side in one.items() if side == "test"} for one in (before, after))
    return ItemChange(
        old=len(before),
        new=len(after),
        added=len(after.keys() - before.keys()),
        removed=len(before.keys() - after.keys()),
        moved=sum(before[item] != after[item] for item in before.keys() & after.keys()),
        test_added=len(tested_after - tested_before),
        test_removed=len(tested_before - tested_after),
    )


def _sides(workspace: Workspace, digest: str) -> dict[bytes, str] | None:
    path = items_path(digest)
    data = StateRef(workspace.root).read(path)
    if data is None:
        return None
    table = parse_table(data, RELEASE_ITEMS, f"the state's {path}")
    return dict(zip(table["sha256"].to_pylist(), table["side"].to_pylist(), strict=True))


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Changed]:
    return {name: Changed(old=was, new=now) for name, (was, now) in differing(old, new).items()}


def _changes_or_none(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Changed] | None:
    return None if old is None or new is None else _changes(old, new)


def _change(old: str, new: str) -> Changed | None:
    return None if old == new else Changed(old=old, new=new)


def _metric(old: Estimate, new: Estimate) -> MetricChange:
    return MetricChange(old=old, new=new, difference=new.value - old.value)


def _more(these: list[str] | None, those: list[str] | None) -> list[str] | None:
    return None if these is None or those is None else [label for label in these if label not in those]
