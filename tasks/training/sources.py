"""The code that values on disk were computed by, as a part of the key under which they lie. No torch."""

from __future__ import annotations

from pathlib import Path

from tasks.digests import file_sha256, rows_sha256

_TASKS = Path(__file__).parents[1]


def sources_sha256(*names: str) -> str:
    """Hex sha256 over the content of source files.

    Args:
        names: below `tasks`, such as `training/pixels.py`; with a `*` all that match.
    Raises:
        FileNotFoundError: one of them is not there, or nothing matches.
    """
    files = [(name, path) for name in names for path in sorted(_TASKS.glob(name))]
    if missing := set(names) - {name for name, _ in files}:
        raise FileNotFoundError(f"no source file {sorted(missing)[0]} below {_TASKS}")
    return rows_sha256((path.relative_to(_TASKS).as_posix(), file_sha256(path)) for _, path in files)
