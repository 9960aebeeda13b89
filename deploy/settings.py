"""What a server is told: params.yaml's `serve` section, the environment, then the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.params import ServeParams, load_params, parse_params
from tasks.params.release import PublishParams

STORE, RELEASE = "GRAFT_STORE", "GRAFT_RELEASE"


@dataclass(frozen=True)
class Settings:
    """What a server process serves, and how.

    Attributes:
        serve: params.yaml's section.
        store: the release store, whose pointer `prod` is followed.
        release: a release folder that is served in its place, and never changes.
    """

    serve: ServeParams
    store: Path
    release: Path | None = None


def read_settings(params_file: Path | None, environment: Mapping[str, str]) -> Settings:
    """Settings of a params.yaml (None: the defaults) and of the environment.

    Raises:
        ParamsError: the file holds a wrong key or value.
    """
    params = load_params(params_file) if params_file else parse_params({"schema_version": 2})
    root = params_file.parent if params_file else Path.cwd()
    store = environment.get(STORE) or params.publish.store or PublishParams().store
    release = environment.get(RELEASE)
    return Settings(params.serve, root / store, Path(release) if release else None)
