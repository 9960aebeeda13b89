"""The schema version of params.yaml: which one is read, and where keys of the version before went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tasks.errors import ParamsError

PARAMS_VERSION: Literal[2] = 2
OLDEST_PARAMS_VERSION = 1

MOVED: Mapping[tuple[str, ...], tuple[tuple[str, ...], ...]] = {
    ("embed", "threads"): (("limits", "stages", "embed", "threads"), ("limits", "stages", "qualify", "threads")),
}
"""Keys of version 1 and where what they say stands in version 2; 0 (every core) is the default there."""


def check_params_version(document: Mapping[str, Any], source: str) -> None:
    """Refuse a params.yaml of another version; one that names none is taken as of today.

    Raises:
        ParamsError: naming `graft migrate` for an earlier version, an upgrade of Graft for a later one.
    """
    version = document.get("schema_version", PARAMS_VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < OLDEST_PARAMS_VERSION:
        raise ParamsError(f"{source}: schema_version {version!r} is none; this Graft reads {PARAMS_VERSION}")
    if version < PARAMS_VERSION:
        raise ParamsError(
            f"{source} has schema_version {version}, this Graft reads {PARAMS_VERSION}; run `graft migrate`, which "
            "keeps your settings and comments (`graft migrate --dry-run` shows the change)"
        )
    if version > PARAMS_VERSION:
        raise ParamsError(
            f"{source} has schema_version {version}, this Graft reads {PARAMS_VERSION}: it was written for a newer "
            "Graft; upgrade Graft"
        )


def moved_hint(location: Sequence[str | int]) -> str | None:
    """What to say of a key that an earlier version knew; None for any other."""
    places = MOVED.get(tuple(str(part) for part in location))
    if places is None:
        return None
    return f"it is {' and '.join('.'.join(place) for place in places)} now (`graft migrate` moves it)"
