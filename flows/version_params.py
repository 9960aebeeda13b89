"""The params that made a version, from the commit of its run branch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.records import VersionRecord
from flows.redaction import redacted
from flows.version_files import version_file
from tasks.errors import ParamsError
from tasks.params import Params, parse_params
from tasks.params.identity import MACHINE_BOUND

NOT_RESULT: dict[str, Any] = {**MACHINE_BOUND, "promotion": True}


def result_params(params: Params) -> dict[str, Any]:
    """Every param that determines a result, as {"section.key": value}."""
    return _flat(params.model_dump(mode="json", by_alias=True, exclude=NOT_RESULT))


def settings(params: Params) -> dict[str, Any]:
    """Every other param, as {"section.key": value}: paths, machine, publishing, and what the data's digest tells of."""
    result = result_params(params)
    every = _flat(params.model_dump(mode="json", by_alias=True))
    return {name: _hidden(value) for name, value in every.items() if name not in result}


def version_params(root: Path, record: VersionRecord) -> dict[str, Any] | None:
    """The params that made a version, defaults among them, as {"section.key": value}.

    Returns:
        None where the version has no commit, this repository has not got it, or its params.yaml is damaged. Of one that
        this Graft does not read any more, only what stands in it.
    """
    document = _document(root, record)
    try:
        return None if document is None else result_params(parse_params(document))
    except ParamsError:
        return _flat(document or {})


def version_settings(root: Path, record: VersionRecord) -> dict[str, Any] | None:
    """`settings` of a version; None where they cannot be told, as where this Graft does not read its params."""
    document = _document(root, record)
    try:
        return None if document is None else settings(parse_params(document))
    except ParamsError:
        return None


def _document(root: Path, record: VersionRecord) -> dict[str, Any] | None:
    data = version_file(root, record, "params.yaml")
    try:
        document = {} if data is None else YAML(typ="safe").load(data.decode()) or {}
    except (YAMLError, UnicodeDecodeError):
        return None
    return document if data is not None and isinstance(document, dict) else None


def _hidden(value: Any) -> Any:
    """A remote that is named by its URL may hold a password."""
    return redacted(value) if isinstance(value, str) else value


def _flat(document: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat


def differing(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs, in the order of `new`; None stands for a key that is not there.

    >>> differing({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})
    {'b': (2, 3), 'c': (None, 4)}
    """
    names = [*new, *(name for name in old if name not in new)]
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}
