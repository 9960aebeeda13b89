"""What `graft data forget` would take out: which contents are meant, where they lie, what was made from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from flows.tracked_data import file_md5
from tasks.digests import file_sha256
from tasks.errors import DataError, StageInputError
from tasks.overlay import read_forgotten
from tasks.params import Params
from tasks.reports import Record, Report, SplitReport
from tasks.table_listing import TABLE_SUFFIXES
from tasks.tables import ITEMS, read_table
from tasks.workspace import Workspace, expanded

PREFIX = re.compile(r"[0-9a-f]{8,64}")


class Content(Record):
    """One content to forget. `items` are paths as reports spell them, `files` where it lies on this machine."""

    sha256: str
    md5: str | None = None
    items: list[str] = []
    files: list[str] = []


class Forgetting(Report):
    """.graft/forgetting.json: what is being forgotten, so that an interrupted command is completed by the next."""

    given: list[str]
    contents: list[Content]
    reason: str
    who: str
    date: str

    @property
    def sha256s(self) -> set[str]:
        return {content.sha256 for content in self.contents}

    @property
    def items(self) -> set[str]:
        return {item for content in self.contents for item in content.items}


@dataclass(frozen=True)
class Known:
    """The data set as it lies there and as the last run listed it."""

    workspace: Workspace
    roots: Sequence[Path]
    listed: Sequence[tuple[str, str, int]]

    @classmethod
    def of(cls, workspace: Workspace, params: Params) -> Known:
        """Read the listing.

        Raises:
            StageInputError: data/items.parquet is there and cannot be read.
        """
        root = workspace.data_root(params.data.path)
        roots = [root] if root == workspace.raw or not workspace.raw.is_dir() else [root, workspace.raw]
        return cls(workspace, roots, _listed(workspace))

    def find(self, given: Sequence[str], caller: Path) -> list[Content]:
        """The contents that `given` (paths or sha256, or at least 8 digits of one) mean, with every copy of them.

        Raises:
            DataError: nothing, or more than one thing, goes by that name.
        """
        wanted = {sha256: name for name in given for sha256 in self._meant(name, caller)}
        return self._located(sorted(wanted))

    def _meant(self, name: str, caller: Path) -> set[str]:
        """sha256 of what a path or digest means; a path may be relative to the caller, the workspace or the data."""
        places = dict.fromkeys([caller / expanded(name), *(r / name for r in (self.workspace.root, *self.roots))])
        files = [place for place in places if place.is_file() and not place.is_symlink()]
        inside = [file for file in files if any(file.resolve().is_relative_to(root.resolve()) for root in self.roots)]
        if inside:
            return {file_sha256(inside[0])}
        spelled = {
            name,
            *(
                place.relative_to(root).as_posix()
                for place in places
                for root in self.roots
                if place.is_relative_to(root)
            ),
        }
        if listed := {sha256 for path, sha256, _ in self.listed if path in spelled}:
            return listed
        if PREFIX.fullmatch(name.lower()):
            return self._by_digest(name.lower())
        if files:
            raise DataError(
                f"{files[0]} is no item of the data set, which lies in {self.roots[0]} (params.yaml: data.path)"
            )
        near = get_close_matches(name, [path for path, _, _ in self.listed], n=1, cutoff=0.7)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"there is no item {name!r}{hint}; give its path as the reports spell it, or its sha256 (8 digits or more)"
            f"{self._of_tombstones()}"
        )

    def _of_tombstones(self) -> str:
        """Why a path may mean nothing any more, where something was forgotten before."""
        if not read_forgotten(self.workspace.forgotten):
            return ""
        tombstones = self.workspace.relative(self.workspace.forgotten)
        return f"; of what was forgotten before {tombstones} keeps the sha256 alone, so give that"

    def _by_digest(self, digits: str) -> set[str]:
        tombstones = {row.sha256 for row in read_forgotten(self.workspace.forgotten)}
        found = {one for one in {sha256 for _, sha256, _ in self.listed} | tombstones if one.startswith(digits)}
        if len(found) > 1:
            raise DataError(
                f"{digits} is the beginning of {len(found)} items ({', '.join(sorted(found)[:5])}); give more digits"
            )
        if not found and len(digits) < 64:
            raise DataError(
                f"no item's sha256 begins with {digits}; reports/review.csv and data/items.parquet hold them"
            )
        return found or {digits}

    def _located(self, sha256s: Sequence[str]) -> list[Content]:
        """Every copy: all files of the listed size, or of any size where the size is not known, are looked into."""
        sizes = {sha256: size for _, sha256, size in self.listed}
        any_size = any(sha256 not in sizes for sha256 in sha256s)
        lengths = {sizes[sha256] for sha256 in sha256s if sha256 in sizes}
        files: dict[str, list[Path]] = {sha256: [] for sha256 in sha256s}
        for file in sorted(
            file for root in self.roots for file in root.rglob("*") if file.is_file() and not file.is_symlink()
        ):
            if (any_size or file.stat().st_size in lengths) and (found := file_sha256(file)) in files:
                files[found].append(file)
        return [
            Content(
                sha256=sha256,
                md5=file_md5(files[sha256][0]) if files[sha256] else None,
                items=sorted(self._names(sha256, files[sha256])),
                files=sorted(map(str, dict.fromkeys(files[sha256]))),
            )
            for sha256 in sha256s
        ]

    def _names(self, sha256: str, files: Sequence[Path]) -> set[str]:
        on_disk = {
            file.relative_to(root).as_posix() for file in files for root in self.roots if file.is_relative_to(root)
        }
        return on_disk | {path for path, content, _ in self.listed if content == sha256}


def near_duplicates_of(workspace: Workspace, items: set[str]) -> list[str]:
    """Other items that the last split chained to `items` as near-duplicates; empty where there is no report."""
    try:
        pairs = SplitReport.read(workspace.split_report).near_duplicates
    except StageInputError:
        return []
    linked, grown = set(items), True
    while grown:
        joined = {name for pair in pairs if {pair.first, pair.second} & linked for name in (pair.first, pair.second)}
        grown = not joined <= linked
        linked |= joined
    return sorted(linked - items)


def tables_of(workspace: Workspace, params: Params) -> list[Path]:
    """The user's table that lists the items, if there is one."""
    paths = [workspace.resolve(path) for path in (params.data.table, params.data.path) if path]
    return [path for path in paths if path.suffix.lower() in TABLE_SUFFIXES and path.is_file()]


def is_ours(workspace: Workspace, file: Path) -> bool:
    """Whether a file may be deleted: it really lies in the workspace, and is no part of the sample, which is written
    anew anyway."""
    real = file.resolve()
    return real.is_relative_to(workspace.root.resolve()) and not real.is_relative_to(workspace.sample.resolve())


def _listed(workspace: Workspace) -> list[tuple[str, str, int]]:
    """None before the first run; a listing that cannot be read is an error, for items would seem not to be there."""
    if not workspace.items.exists():
        return []
    table = read_table(workspace.items, ITEMS, ["path", "sha256", "bytes"])
    rows = zip(*(table[name].to_pylist() for name in ("path", "sha256", "bytes")), strict=True)
    return [(path, sha256, size) for path, sha256, size in rows if sha256]
