"""The params that made a version, from the commit of its run branch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.records import VersionRecord
from flows.version_files import version_file
from tasks.errors import ParamsError
from tasks.params import Params, parse_params
from tasks.params.identity import MACHINE_BOUND

NOT_RESULT: dict[str, Any] = {**MACHINE_BOUND, "promotion": True}


def result_params(params: Params) -> dict[str, Any]:
    """Every param that determines a result, as {"section.key": value}."""
    return _flat(params.model_dump(mode="json", by_alias=True, exclude=NOT_RESULT))


def version_params(root: Path, record: VersionRecord) -> dict[str, Any] | None:
    """The params that made a version, defaults among them, as {"section.key": value}.

    Returns:
        None where the version has no commit, this repository has not got it, or its params.yaml is damaged. Of one that
        this Graft does not read any more, only what stands in it.
    """
    data = version_file(root, record, "params.yaml")
    if data is None:
        return None
    try:
        document = YAML(typ="safe").load(data.decode()) or {}
        return result_params(parse_params(document)) if isinstance(document, dict) else None
    except (YAMLError, UnicodeDecodeError):
        return None
    except ParamsError:
        return _flat(document)


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
