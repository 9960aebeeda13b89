"""Telling others of a change of production: GTO's tags and Prefect's events."""

from __future__ import annotations

from pathlib import Path

from flows.events import Kind, announce
from flows.records import Action, StageChange, VersionRecord
from flows.registry_tags import assign
from flows.versions import version_name, versions
from tasks.errors import GraftError
from tasks.stage import say

_KINDS: dict[Action, Kind] = {"promote": "promoted", "rollback": "rolled_back"}


def tell_change(root: Path, change: StageChange) -> None:
    """Tag and announce a change. Production has changed by now: what goes wrong here is a warning."""
    known: list[VersionRecord] = []
    try:
        known = versions(root)
        assign(root, change, known)
    except (GraftError, OSError) as err:
        say(f"{version_name(change.version)} is in production, but its stage tag is not set: {err}", "warning")
    record = next((one for one in known if one.manifest_sha256 == change.manifest_sha256), None)
    announce(
        _KINDS[change.action],
        record.name if record else "unknown",
        version=change.version,
        manifest_sha256=change.manifest_sha256,
        outcome=record.outcome if record else None,
        reasons=[change.reason],
        actor=change.actor,
        number=change.number,
        previous=change.previous,
        forced=change.forced,
    )
