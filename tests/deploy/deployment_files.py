"""What the files below deploy/ say, for tests: the image, and the settings that a server would take from variables."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from serving_scene import REPOSITORY

from deploy.settings import Settings, read_settings
from deploy.shadow import MOST_BYTES
from deploy.workers import GRACE_SECONDS
from tasks.decoding_memory import BYTES_AT_ONCE

DEPLOY = REPOSITORY / "deploy"
MODEL_BYTES = 180_000_000
"""Of a worker with mobilenet_v2; once more for each further model, such as one that a reload takes over, a shadow."""
MODELS = 3
WEBP_BYTES_PER_PIXEL = 17
"""tasks/decoding_memory.py: the format that needs most."""
WHILE_READ = 3
"""tests/deploy/test_abuse_memory.py: a large body costs four times itself while it is read, one at a time."""


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


def most_memory_bytes(variables: Mapping[str, Any], workers: int) -> float:
    """What allowed requests can make a container hold, all bounds reached at once; docs/serving.md has the same sum."""
    serve = served_settings(variables).serve
    limits, capture = serve.limits, serve.capture
    bodies = (limits.uploads_mb + (serve.queue + WHILE_READ) * limits.body_mb) * 1e6
    decoding = max(BYTES_AT_ONCE, WEBP_BYTES_PER_PIXEL * limits.max_pixels)
    headers = limits.connections * limits.header_kb * 1e3
    captures = capture.queue_mb * 1e6 if capture.share else 0
    return workers * (MODELS * MODEL_BYTES + bodies + decoding + MOST_BYTES + headers + captures)


def size_in_bytes(text: str) -> int:
    """Of Kubernetes ("4Gi") or Compose ("4g"); both count in powers of two.

    >>> size_in_bytes("4Gi") == size_in_bytes("4g") == 4 * 2**30
    True
    """
    return int(text.lower().removesuffix("i").removesuffix("g")) * 2**30
