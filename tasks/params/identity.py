"""Which params determine a result, whatever the machine and the path."""

from __future__ import annotations

from typing import Any

from tasks.digests import value_sha256
from tasks.params.document import Params

MACHINE_BOUND: dict[str, Any] = {
    "data": {"path", "table"},
    "validate_": {"suite"},
    "backbone": {"weights"},
    "embed": True,
    "review": True,
    "sample": True,
    "publish": True,
    "promotion": True,
    "serve": True,
    "limits": True,
    "flow": True,
}
"""Paths and machine settings, whose effect the data and backbone digests name, the review, which has none, and
promotion, which comes after a release: what it says of equivalent models stands in the verdict inside the manifest."""


def result_params_sha256(params: Params) -> str:
    """sha256 of the params that determine a release, without paths and machine settings."""
    return value_sha256(params.model_dump(mode="json", by_alias=True, exclude=MACHINE_BOUND))
