"""`graft migrate`: params.yaml of the schema version before, rewritten as this Graft reads it.

Lines are edited one by one where the file is plain YAML in block style, so that all others stay byte for byte; whatever
was done is read back and compared with what it should say before anything is written.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from flows.params_file import EditedParams, round_trip_yaml
from flows.workspace_lock import workspace_lock
from tasks.errors import ParamsError
from tasks.params import parse_params
from tasks.params.versions import MOVED, OLDEST_PARAMS_VERSION, PARAMS_VERSION, check_params_version
from tasks.stage import say
from tasks.workspace import Workspace

STOCK_COMMENT = "0 takes every core"
"""What params.yaml of version 1 said beside embed.threads; its new place says so itself."""
ARRIVED = {
    "review": "max_items: which items a person is asked to look at",
    "report": "thumbnails: whether the pages show images",
    "limits": "memory_gb, threads, free_disk_gb, stages: what a stage may take of the machine",
}
"""Sections that came with version 2, with their keys."""
VERSION_LINE = re.compile(r"(?m)^(schema_version\s*:\s*)\d+")


def migrated_params(workspace: Workspace) -> EditedParams:
    """params.yaml in this Graft's version; no diff where it is that already. Nothing is written.

    Raises:
        ParamsError: the file cannot be read, is of a newer Graft, holds a wrong key or value, or is written in a way
            that cannot be migrated (a moved key that comes from an anchor).
    """
    path = workspace.params
    try:
        old = path.read_bytes().decode("utf-8")
        plain = YAML(typ="safe").load(old)
    except OSError as err:
        raise ParamsError(f"{path} cannot be read ({err.strerror}); `git checkout params.yaml` brings it back") from err
    except (YAMLError, UnicodeDecodeError) as err:
        raise ParamsError(f"{path} is not readable as YAML: {err}") from err
    plain = {} if plain is None else plain
    if not isinstance(plain, dict):
        raise ParamsError(f"{path} must hold sections such as `data:`; it holds a {type(plain).__name__}")
    version = plain.get("schema_version", OLDEST_PARAMS_VERSION)
    if version != OLDEST_PARAMS_VERSION or isinstance(version, bool):
        check_params_version(plain, path.name)
        return EditedParams(path, parse_params(plain, path.name), old, "")
    wanted = _migrated_document(plain)
    params = parse_params(wanted, f"{path.name}, as migrated")
    try:
        new = _rewritten(old, plain)
    except YAMLError:
        new = ""
    if _read_back(new) != wanted:
        raise ParamsError(
            f"{path} cannot be migrated by itself (anchors or an unusual layout); set schema_version to "
            f"{PARAMS_VERSION} and {_by_hand(plain)} by hand"
        )
    diff = difflib.unified_diff(old.splitlines(True), new.splitlines(True), path.name, path.name, n=1)
    return EditedParams(path, params, new, "".join(diff))


def migrate_here(workspace: Workspace, dry_run: bool) -> str:
    """Rewrite params.yaml in this Graft's version, or only show the change; returns what was done, for a person.

    Raises:
        ParamsError: as `migrated_params`; the file is left as it was.
        WorkspaceError: a run holds the workspace.
    """
    lock: AbstractContextManager[list[str]] = nullcontext([]) if dry_run else workspace_lock(workspace, "migrate")
    with lock as mended:
        for line in mended:
            say(line)
        migrated = migrated_params(workspace)
        if not migrated.diff:
            return f"params.yaml has schema_version {PARAMS_VERSION} already; nothing to do"
        if dry_run:
            return f"{migrated.diff.rstrip()}\nnothing was written (--dry-run)"
        migrated.keep()
        done = f"{migrated.diff.rstrip()}\nparams.yaml has schema_version {PARAMS_VERSION} now"
        return "\n".join([done, *_new_settings(migrated.text)])


def _new_settings(text: str) -> list[str]:
    """One line per section that came with this version and that the file leaves to its defaults."""
    there = _read_back(text) or {}
    return [
        f"new, at its defaults until you add it: {name} ({what})" for name, what in ARRIVED.items() if name not in there
    ]


def _migrated_document(plain: dict[str, Any]) -> dict[str, Any]:
    """What the file should say after the migration."""
    document: dict[str, Any] = _unshared(plain)
    document["schema_version"] = PARAMS_VERSION
    for key, places in MOVED.items():
        value = _pop(document, key)
        for place in places if value else ():
            _set_plain(document, place, value)
    return document


def _unshared(value: Any) -> Any:
    """A copy in which what an anchor and its aliases say is no longer one object."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _pop(document: dict[str, Any], key: tuple[str, ...]) -> Any:
    section = document.get(key[0])
    return section.pop(key[1], None) if isinstance(section, dict) else None


def _set_plain(document: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for part in place[:-1]:
        if not isinstance(document.get(part), dict):
            document[part] = {}
        document = document[part]
    document[place[-1]] = value


def _by_hand(plain: dict[str, Any]) -> str:
    moves = [
        f"move {'.'.join(key)} to {' and '.join('.'.join(place) for place in places)}"
        for key, places in MOVED.items()
        if key[1] in (plain.get(key[0]) or {})
    ]
    return " and ".join(moves) or "save it as plain YAML"


def _read_back(text: str) -> Any:
    try:
        return YAML(typ="safe").load(text)
    except YAMLError:
        return None


def _rewritten(old: str, plain: dict[str, Any]) -> str:
    text = _with_version(old, "schema_version" in plain)
    arrived: dict[str, Any] = {}
    for key, places in MOVED.items():
        section = plain.get(key[0])
        if isinstance(section, dict) and key[1] in section:
            text = _without_key(text, key, places)
            for place in places if section[key[1]] else ():
                _set_plain(arrived, place, section[key[1]])
    for section_name, values in arrived.items():
        text = _with_values(text, section_name, values)
    return text


def _with_version(text: str, named: bool) -> str:
    if named:
        return VERSION_LINE.sub(rf"\g<1>{PARAMS_VERSION}", text, count=1)
    # Above the first line that says something, below the comments that open the file.
    lines = text.splitlines(True)
    head = next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(("#", "%"))), 0)
    if lines and lines[head].startswith("---"):
        head += 1
    return "".join([*lines[:head], f"schema_version: {PARAMS_VERSION}{_line_end(text)}", *lines[head:]])


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _without_key(text: str, key: tuple[str, ...], places: Sequence[tuple[str, ...]]) -> str:
    """The text without a key: its line taken out of a block, or the flow map written anew."""
    document = round_trip_yaml().load(text)
    section = document[key[0]]
    own = key[1] in (section.lc.data or {})
    if section.fa.flow_style() or not own:
        return _edited(text, lambda loaded: loaded[key[0]].pop(key[1], None))
    lines, line = text.splitlines(True), section.lc.key(key[1])[0]
    comment = lines[line].partition(" #")[2].strip()
    if comment and comment != STOCK_COMMENT:
        indent = " " * section.lc.key(key[1])[1]
        lines[line] = f"{indent}# ({key[1]}, now {'.'.join(places[0])}) {comment}{_line_end(text)}"
    else:
        del lines[line]
    if len(section) == 1:
        place = document.lc.key(key[0])[0]
        lines[place] = lines[place].replace(":", ": {}", 1)
    return "".join(lines)


def _with_values(text: str, section: str, values: dict[str, Any]) -> str:
    """The text with values below a section, which is appended where it is not there."""
    if section in round_trip_yaml().load(text):
        return _edited(text, lambda loaded: _merge(loaded, {section: values}))
    yaml, buffer, end = YAML(), io.StringIO(), _line_end(text)
    yaml.dump({section: values}, buffer)
    return text + ("" if text.endswith(end) else end) + end + buffer.getvalue().replace("\n", end)


def _merge(place: CommentedMap, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(place.get(name), CommentedMap):
            _merge(place[name], value)
        else:
            place[name] = value


def _edited(text: str, change: Callable[[CommentedMap], object]) -> str:
    """The text after a change of the loaded document, comments kept."""
    yaml, buffer = round_trip_yaml(), io.StringIO()
    document = yaml.load(text)
    change(document)
    yaml.dump(document, buffer)
    return buffer.getvalue().replace("\n", _line_end(text))
