"""Editing the user's params.yaml: comments kept, the change shown, nothing written that would not load."""

from __future__ import annotations

import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from flows.yaml_tails import commented, cut_tail, sew_tail
from tasks.errors import DataError, ParamsError
from tasks.params import Params, load_params, parse_params
from tasks.params.document import check_key, path_rule, unknown_to_method
from tasks.reports import write_bytes
from tasks.workspace import Workspace, expanded


@dataclass(frozen=True)
class Edit:
    """One key (as its parts) and its new value."""

    key: tuple[str, ...]
    value: Any


def parse_override(text: str, workspace: Workspace, caller: Path) -> Edit:
    """`section.key=value`, the value read as YAML; a path resolves against the caller's folder.

    Raises:
        ParamsError: no `=`, an unknown key, or a value that is no YAML.
    """
    name, found, raw = text.partition("=")
    if not found or not name:
        raise ParamsError(f"--set {text!r} is not of the form section.key=value (such as gate.accuracy.minimum=0.9)")
    key = tuple(name.strip().split("."))
    check_key(key)
    try:
        value = YAML(typ="safe").load(raw) if raw.strip() else None
    except YAMLError as err:
        raise ParamsError(f"--set {name}: {raw!r} is not readable as YAML") from err
    rule = path_rule(key)
    if isinstance(value, str) and (rule == "always" or (rule == "with_suffix" and _names_a_file(value))):
        value = stored_path((caller / expanded(value)).absolute(), workspace)
    return Edit(key, value)


def data_edits(path: str, workspace: Workspace, caller: Path) -> list[Edit]:
    """What `--data PATH` changes: a folder, or a table and the folder it stands in.

    Raises:
        DataError: nothing is there.
    """
    from tasks.table_listing import TABLE_SUFFIXES

    if not path.strip():
        raise DataError("--data is empty (an unset shell variable?); give the folder or the table of your images")
    absolute = (caller / expanded(path)).absolute()
    if not absolute.exists() and stored_path(absolute, workspace) != workspace.relative(workspace.sample):
        raise DataError(f"--data {path}: {absolute} does not exist; give the folder or the table of your images")
    if absolute.suffix.lower() in TABLE_SUFFIXES and not absolute.is_dir():
        return [
            Edit(("data", "path"), stored_path(absolute.parent, workspace)),
            Edit(("data", "table"), stored_path(absolute, workspace)),
        ]
    return [Edit(("data", "path"), stored_path(absolute, workspace)), Edit(("data", "table"), None)]


def stored_path(path: Path, workspace: Workspace) -> str:
    """Relative to the workspace where it lies inside, absolute elsewhere."""
    tidy = Path(*path.parts[:1], *_without_dots(path.parts[1:]))
    return workspace.relative(tidy)


def _names_a_file(value: str) -> bool:
    return "/" in value or (bool(Path(value).suffix) and "_Weights." not in value)


def _without_dots(parts: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    return kept


@dataclass(frozen=True)
class EditedParams:
    """params.yaml as it would be: valid, and not written before `keep` is called."""

    file: Path
    params: Params
    text: str
    diff: str

    def keep(self) -> None:
        """Write the file, if anything changed."""
        if self.diff:
            write_bytes(self.file, self.text.encode())


def edit_params(workspace: Workspace, edits: Sequence[Edit]) -> tuple[Params, str]:
    """Apply edits to params.yaml; returns the params and the change as a unified diff.

    Raises:
        ParamsError: the result would not load; the file is left as it was.
    """
    edited = edited_params(workspace, edits)
    edited.keep()
    return edited.params, edited.diff


def edited_params(workspace: Workspace, edits: Sequence[Edit], source: str = "--set") -> EditedParams:
    """What edits would make of params.yaml.

    Args:
        source: where the edits come from, as messages name it.
    Raises:
        ParamsError: the file does not load, or would not after the edits.
    """
    params = load_params(workspace.params)
    old = workspace.params.read_text(encoding="utf-8")
    missing = missing_sections(workspace, YAML(typ="safe").load(old) or {}, params)
    if not edits and not missing:
        return EditedParams(workspace.params, params, old, "")
    yaml = round_trip_yaml()
    document = yaml.load(old) or CommentedMap()
    for edit in edits:
        _put(document, edit)
    _drop_what_other_methods_had(document, edits)
    params = parse_params(_plain(document), source)
    for edit in missing_sections(workspace, document, params):
        _put(document, edit)
    buffer = io.StringIO()
    yaml.dump(document, buffer)
    new = buffer.getvalue()
    diff = "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "params.yaml", "params.yaml", n=0))
    return EditedParams(workspace.params, params, new, diff)


def missing_sections(workspace: Workspace, document: dict[str, Any], params: Params) -> list[Edit]:
    """Keys that dvc.yaml declares and params.yaml leaves to their defaults: DVC wants them spelled out."""
    stages = YAML(typ="safe").load(workspace.dvc_yaml.read_text(encoding="utf-8")).get("stages", {})
    keys = sorted({key for stage in stages.values() for key in stage.get("params", []) if isinstance(key, str)})
    defaults = params.model_dump(mode="json", by_alias=True)
    edits = []
    for key in keys:
        parts = tuple(key.split("."))
        if _value_at(document, parts) is _ABSENT:
            edits.append(Edit(parts, _value_at(defaults, parts)))
    return edits


_ABSENT = object()


def _value_at(document: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if not isinstance(document, dict) or part not in document:
            return _ABSENT
        document = document[part]
    return document


def round_trip_yaml() -> YAML:
    """A reader and writer that keeps comments, quotes, order and `null`."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _put(document: CommentedMap, edit: Edit) -> None:
    tail = cut_tail(document, edit.key)
    place = document
    for part in edit.key[:-1]:
        if not isinstance(place.get(part), CommentedMap):
            place[part] = CommentedMap()
        place = place[part]
    if edit.key[-1] not in place or place[edit.key[-1]] != edit.value:
        place[edit.key[-1]] = commented(edit.value)
    if tail:
        sew_tail(document, edit.key, tail)


def _drop_what_other_methods_had(document: CommentedMap, edits: Sequence[Edit]) -> None:
    """A section that an edit gave another method loses the keys which that one does not know.

    What the edits themselves set stays, so that the check after them names it. Lines between keys stay too.
    """
    wanted = {edit.key for edit in edits}
    for *section, name in wanted:
        for key in unknown_to_method((*section, name), _value_at(document, (*section, name))):
            if not any(_within((*section, key), one) for one in wanted):
                _drop(document, (*section, key))


def _within(place: Sequence[str], other: Sequence[str]) -> bool:
    return tuple(other[: len(place)]) == tuple(place)


def _drop(document: CommentedMap, key: tuple[str, ...]) -> None:
    section = _value_at(document, key[:-1])
    if _value_at(document, key) is _ABSENT:
        return
    names = list(section)
    place = names.index(key[-1])
    tail = cut_tail(document, key)
    del section[key[-1]]
    if tail:  # The key that names the method stays, so there is a neighbour.
        sew_tail(document, (*key[:-1], names[place - 1] if place else names[1]), tail)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
