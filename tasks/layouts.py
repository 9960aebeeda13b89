"""What the raw data hold, as a listing: class folders, train/val/test folders of them, a table, or a flat folder."""

from __future__ import annotations

import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from tasks.errors import DataError, counted
from tasks.params import ColumnNames
from tasks.table_listing import TABLE_SUFFIXES, Item, official_sides, read_listing, side_of
from tasks.tree import walk

Layout = Literal["class folders", "split folders", "table", "flat"]

IMAGE_SUFFIXES = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg"),
    *(".jpg", ".jxl", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
)
"""Files so named are listed, readable or not; formats that params do not allow are then quarantined by name."""


@dataclass(frozen=True)
class Listing:
    """Every item of a data set, sorted by path; `root` is the folder that the paths are relative to."""

    root: Path
    layout: Layout
    items: list[Item]
    ignored: list[str]


def list_items(
    path: Path,
    table: Path | None = None,
    columns: ColumnNames | None = None,
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> Listing:
    """List the items of a data set, with the labels that it says itself.

    A table is used where `path` is one (its paths are relative to its folder) or `table` names one (relative to
    `path`). Otherwise the folders say: train, val and test above class folders are an official split; the outermost
    folder below is the class and all that is nested in it belongs to the class; images beside class folders have no
    label. Files without an image's suffix, and whatever starts with a dot, are ignored and named.

    Raises:
        DataError: nothing is there, the tree cannot be read (`tasks.tree`), the table is broken, or two class names
            differ only in case, in outer spaces or in Unicode form (unless `aliases` make them one).
    """
    root = item_root(path)
    if table and root != path:
        raise DataError(f"data.path ({path}) is a table already; clear data.table ({table}) or name the folder")
    if table or root != path:
        items = read_listing(table or path, root, columns or ColumnNames())
        listing = Listing(root, "table", items, [])
    else:
        listing = _list_folder(root)
    if not listing.items:
        raise DataError(f"{table or path} holds no images ({counted(len(listing.ignored), 'other file')} ignored)")
    labels = {item.label for item in listing.items if item.label is not None}
    _check_class_names({aliases.get(label, label) for label in labels})
    return listing


def check_layout(root: Path) -> None:
    """Look at every entry of a folder, as `tasks.tree` does, and whether its folders can say labels.

    Costs no more than `tasks.tree.check_tree`, which lists the same entries.

    Raises:
        DataError: the tree cannot be read, holds no images, or none below a class folder.
    """
    if not any("/" in file.path and _is_image(file.path) for file in walk(root)):
        refuse_flat(list_items(root))


def refuse_flat(listing: Listing) -> None:
    """Raise a DataError if the listing is a folder of images that are in no class folder."""
    if listing.layout == "flat":
        raise DataError(
            f"{listing.root} holds {counted(len(listing.items), 'image')} but no class folders; put each class into a "
            "folder of its name, or name a table of paths and labels (params.yaml: data.table)"
        )


def item_root(path: Path) -> Path:
    """The folder that item paths are relative to: `path` itself, or the folder of the table that it names."""
    return path.parent if path.suffix.lower() in TABLE_SUFFIXES and not path.is_dir() else path


def _list_folder(root: Path) -> Listing:
    files = [file.path for file in walk(root)]
    images = [path for path in files if _is_image(path)]
    ignored = sorted(set(files) - set(images))
    places = [tuple(path.split("/")) for path in images]
    if _is_split(root, places):
        items = [_labelled(place[1:], "/".join(place), side_of(place[0])) for place in places]
        return Listing(root, "split folders", official_sides(items), ignored)
    items = [_labelled(place, "/".join(place), None) for place in places]
    return Listing(root, "class folders" if any(item.label for item in items) else "flat", items, ignored)


def _is_image(path: str) -> bool:
    *_, name = parts = path.split("/")
    return not any(part.startswith(".") for part in parts) and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _labelled(place: Sequence[str], path: str, split: str | None) -> Item:
    return Item(path, sys.intern(place[0]) if len(place) > 1 else None, None, split)


def _is_split(root: Path, places: Sequence[tuple[str, ...]]) -> bool:
    """Whether the outermost folders are sides (train and others) rather than classes.

    A class may well be called "train": among other classes it is one. Sides beside other folders are ambiguous.
    """
    outer = {place[0] for place in places if len(place) > 1}
    sides: dict[str, list[str]] = defaultdict(list)
    for name in sorted(outer):
        if side := side_of(name):
            sides[side].append(name)
    named = [name for names in sides.values() for name in names]
    if "train" not in sides or not any(len(place) > 2 and place[0] in named for place in places):
        return False
    if len(named) == len(outer):
        for side, names in sides.items():
            if len(names) > 1:
                raise DataError(f"{root}: the folders {', '.join(names)} all mean {side}; put them into one")
        return True
    if len(named) == 1:
        return False
    others = ", ".join(sorted(outer - set(named)))
    raise DataError(
        f"{root} holds {', '.join(named)} beside {others}: sides of a split, or classes? move one kind away"
    )


def _check_class_names(labels: Iterable[str]) -> None:
    alike: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        alike[unicodedata.normalize("NFC", label).casefold().strip()].append(label)
    clashes = [" and ".join(_spelled(label) for label in names) for names in alike.values() if len(names) > 1]
    if clashes:
        raise DataError(
            f"class names that differ only in case, spaces or Unicode form: {'; '.join(clashes)}; merge them "
            "(params.yaml: data.label_aliases)"
        )


def _spelled(label: str) -> str:
    """The name in quotes, with its Unicode form where that is not the usual one."""
    form = "" if unicodedata.is_normalized("NFC", label) else " (decomposed Unicode, NFD)"
    return f"{label!r}{form}"
