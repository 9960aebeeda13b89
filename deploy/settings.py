"""What a server is told: params.yaml's `serve` section, then the environment, then the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.errors import ParamsError
from tasks.params import Params, ServeParams, load_params, parse_params
from tasks.params.document import check_key, path_rule
from tasks.params.release import PublishParams

STORE, RELEASE = "GRAFT_STORE", "GRAFT_RELEASE"
PREFIX = "GRAFT_SERVE_"
OTHERS = frozenset({"GRAFT_SERVE_TOKEN"})
"""Variables of that prefix which are no params: a secret has no place in params.yaml."""


@dataclass(frozen=True)
class Settings:
    """What a server process serves, and how.

    Attributes:
        serve: params.yaml's section; its paths are absolute.
        store: the release store, whose pointer `prod` is followed.
        release: a release folder that is served in its place, and never changes.
    """

    serve: ServeParams
    store: Path
    release: Path | None = None


@dataclass(frozen=True)
class Override:
    """One key below `serve`, its new value, and who said so."""

    key: tuple[str, ...]
    value: Any
    source: str


@dataclass(frozen=True)
class Flags:
    """What the command line says; None where it says nothing."""

    params: Path | None = None
    store: Path | None = None
    release: Path | None = None
    overrides: tuple[Override, ...] = ()


def read_settings(params_file: Path | None, environment: Mapping[str, str], flags: Flags | None = None) -> Settings:
    """Settings of a params.yaml (None: the defaults), the environment and the flags, each over the one before.

    Paths of the file are relative to its folder, those of the environment and of the flags to where the server starts.

    Raises:
        ParamsError: a wrong key or value; the text names where it was given.
    """
    flags = flags or Flags()
    file, caller = flags.params or params_file, Path.cwd()
    params = load_params(file) if file else parse_params({})
    root = file.absolute().parent if file else caller
    serve = _resolved(params.serve, root)
    overrides = [*environment_overrides(environment), *flags.overrides]
    serve = _overridden(serve, overrides, caller)
    store = flags.store or _path(environment, STORE)
    release = flags.release or _path(environment, RELEASE)
    return Settings(
        serve,
        caller / store if store else root / (params.publish.store or PublishParams().store),
        caller / release if release else None,
    )


def environment_overrides(environment: Mapping[str, str]) -> list[Override]:
    """GRAFT_SERVE_PORT, GRAFT_SERVE_LIMITS__BODY_MB, ...: `__` stands for a dot.

    Raises:
        ParamsError: a variable that names no key, or whose value is no YAML.
    """
    names = sorted(name for name in environment if name.startswith(PREFIX) and name not in OTHERS)
    return [_override(name.removeprefix(PREFIX).lower().split("__"), environment[name], name) for name in names]


def flag_overrides(texts: Iterable[str]) -> list[Override]:
    """Every `--set serve.key=value`.

    Raises:
        ParamsError: another form, another section than `serve`, an unknown key, or a value that is no YAML.
    """
    found = []
    for text in texts:
        name, is_assignment, raw = text.partition("=")
        section, *key = name.strip().split(".")
        if not is_assignment or section != "serve" or not key:
            raise ParamsError(f"--set {text!r} is not of the form serve.key=value (such as serve.queue=32)")
        found.append(_override(key, raw, f"--set {name.strip()}"))
    return found


def _override(key: Sequence[str], raw: str, source: str) -> Override:
    try:
        check_key(("serve", *key))
    except ParamsError as err:
        raise ParamsError(f"{source}: {err}") from err
    try:
        value = YAML(typ="safe").load(raw) if raw.strip() else None
    except YAMLError as err:
        raise ParamsError(f"{source}: {raw!r} is not readable as YAML") from err
    return Override(tuple(key), value, source)


def _overridden(serve: ServeParams, overrides: Iterable[Override], caller: Path) -> ServeParams:
    """Each override is judged by itself, so that an error names the one that is wrong."""
    for one in overrides:
        document = serve.model_dump(mode="json")
        place = document
        for part in one.key[:-1]:
            place = place[part]
        place[one.key[-1]] = one.value
        changed = parse_params({"serve": document}, one.source).serve
        serve = _resolved(changed, caller)
    return serve


def _resolved(serve: ServeParams, root: Path) -> ServeParams:
    """Relative paths as absolute ones; those that are absolute stay."""
    document = serve.model_dump(mode="json")
    _resolve(document, ("serve",), root)
    params: Params = parse_params({"serve": document})
    return params.serve


def _resolve(section: dict[str, Any], place: tuple[str, ...], root: Path) -> None:
    for key, value in section.items():
        if isinstance(value, dict):
            _resolve(value, (*place, key), root)
        elif isinstance(value, str) and path_rule((*place, key)) == "always":
            section[key] = str(root / Path(value).expanduser())


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    return Path(environment[name]).expanduser() if environment.get(name) else None
