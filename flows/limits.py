"""Before a run starts: is there the disk, the memory and the cores that params.yaml asks for?"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from flows.dvc_commands import dvc_cache_dir
from flows.memory import available_bytes
from tasks.errors import WorkspaceError
from tasks.params import Params
from tasks.threads import usable_cores
from tasks.workspace import STAGES, Workspace

EVERYTHING = (*STAGES, "publish")


def check_limits(workspace: Workspace, params: Params, due: Sequence[str]) -> list[str]:
    """One line per thing to know before the `due` stages run.

    Raises:
        WorkspaceError: disk or memory do not suffice; every shortfall of every due stage is named, with the mend.
    """
    short = shortfalls(workspace, params, due)
    if short:
        lines = "\n".join(f"  {line}" for line in short)
        raise WorkspaceError(f"there is not enough room to start; nothing was run:\n{lines}")
    return [*thread_warnings(params, due), *training_notes(workspace, params, due)]


def shortfalls(workspace: Workspace, params: Params, due: Sequence[str]) -> list[str]:
    """Every disk and all memory that the `due` stages ask for and this machine does not have now."""
    return [*disk_shortfalls(workspace, params, due), *memory_shortfalls(params, due)]


def thread_warnings(params: Params, due: Sequence[str]) -> list[str]:
    """One line per setting that asks for more threads than this process may use processors."""
    cores = usable_cores()
    asking = {params.limits.key(stage, "threads"): params.limits.of(stage).threads for stage in due}
    return [
        f"{key} = {threads}: more threads than the {cores} cores that this process may use; it works, only slower"
        for key, threads in asking.items()
        if threads > cores
    ]


def training_notes(workspace: Workspace, params: Params, due: Sequence[str]) -> list[str]:
    """A line where training may keep more activations of its frozen part than the cache's disk has room for.

    It is no shortfall: what they take is known only to the training, and may be a hundredth of it.
    """
    method, kept = params.adapt.method, workspace.cache / "activations"
    if "adapt" not in due or method.name != "fine_tune" or method.blocks == "all" or method.keep_frozen == "never":
        return []
    # Those of earlier trainings count: they make room.
    room = (free_bytes(workspace.cache) + size_below(kept)) / 1e9
    if room >= method.frozen_cache_gb:
        return []
    return [
        f"adapt may keep up to {method.frozen_cache_gb:.15g} GB of activations (adapt.method.frozen_cache_gb), and "
        f"{kept} has room for {_gb(room)} GB; lower adapt.method.frozen_cache_gb, or free disk (`graft gc --dry-run` "
        "shows what may go)"
    ]


def size_below(folder: Path) -> int:
    """Bytes of all files in a folder; 0 where there is none."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # removed meanwhile
            total += path.lstat().st_size if path.is_file() else 0
    return total


def places_written(workspace: Workspace, params: Params, stage: str) -> list[Path]:
    """The folders that a stage, or publish, writes to; they need not exist yet."""
    if stage == "publish":
        return [workspace.store(params.publish.store)]
    trains = params.adapt.method.name != "linear_probe" or params.adapt.from_scratch != "never"
    own = [workspace.cache] if stage == "embed" or (stage == "adapt" and trains) else []
    return [workspace.root, dvc_cache_dir(workspace), *own]


def free_bytes(place: Path) -> int:
    """Free disk where a folder lies or would lie."""
    return shutil.disk_usage(_existing(place)).free


def _existing(place: Path) -> Path:
    return next(folder for folder in (place, *place.parents) if folder.exists())


def disk_shortfalls(workspace: Workspace, params: Params, due: Sequence[str]) -> list[str]:
    """One line per disk and amount; several folders of one disk are one place."""
    asking: dict[tuple[int, str], list[str]] = {}
    first: dict[int, Path] = {}
    for stage in due:
        key = params.limits.key(stage, "free_disk_gb")
        for place in places_written(workspace, params, stage):
            device = _existing(place).stat().st_dev
            first.setdefault(device, place)
            stages = asking.setdefault((device, key), [])
            stages += [stage] if stage not in stages else []
    lines = []
    for (device, key), stages in asking.items():
        wanted, free = params.limits.of(stages[0]).free_disk_gb, free_bytes(first[device]) / 1e9
        if free < wanted:
            lines.append(
                f"{', '.join(stages)}: {_gb(free)} GB of disk are free at {first[device]}, {key} wants {wanted:.15g}; "
                f"free {_gb(wanted - free)} GB (`graft gc --dry-run` shows what may go), or lower {key}"
            )
    return lines


def _gb(size: float) -> str:
    """A size without an exponent.

    >>> _gb(99998.7), _gb(12.345), _gb(0.5)
    ('99999', '12.3', '0.5')
    """
    return f"{size:.0f}" if size >= 1000 else f"{size:.3g}"


def memory_shortfalls(params: Params, due: Iterable[str]) -> list[str]:
    """One line per limit that asks for more memory than is available; publish runs inside the flow and has none."""
    asking: dict[tuple[str, float], list[str]] = {}
    for stage in due:
        limit_gb = params.limits.of(stage).memory_gb if stage != "publish" else None
        if limit_gb is not None:
            asking.setdefault((params.limits.key(stage, "memory_gb"), limit_gb), []).append(stage)
    available = available_bytes() / 1e9 if asking else 0.0
    return [
        f"{', '.join(stages)}: {_gb(available)} GB of memory are available, {key} is {limit_gb:.15g}; end "
        f"other programs, or lower {key} to what is there"
        for (key, limit_gb), stages in asking.items()
        if limit_gb > available
    ]
