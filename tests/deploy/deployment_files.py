"""What the files below deploy/ say, for tests: the image, and the settings that a server would take from variables."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from serving_scene import REPOSITORY

from deploy.settings import Settings, read_settings
from deploy.workers import GRACE_SECONDS

DEPLOY = REPOSITORY / "deploy"


def instructions(name: str = "Dockerfile") -> list[tuple[str, str]]:
    """Every instruction of a Dockerfile with its arguments on one line, comments left out."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in joined) if word]


def image_environment() -> dict[str, str]:
    """ENV of the server's image."""
    told = " ".join(rest for word, rest in instructions() if word == "ENV")
    return {name: value for name, _, value in (one.partition("=") for one in shlex.split(told))}


def image_command() -> list[str]:
    """ENTRYPOINT of the server's image."""
    found: list[str] = json.loads(next(rest for word, rest in instructions() if word == "ENTRYPOINT"))
    return found


def served_settings(variables: Mapping[str, Any]) -> Settings:
    """What a container of the image makes of these variables; a name that is no setting raises."""
    given = {name: str(value) for name, value in variables.items()}
    return read_settings(None, {**image_environment(), **given})


def longest_end_seconds(variables: Mapping[str, Any]) -> float:
    """How long a server may take from SIGTERM until its last worker is gone."""
    serve = served_settings(variables).serve
    return serve.unready_seconds + serve.drain_seconds + GRACE_SECONDS
