"""Which method adapts the backbone."""

from __future__ import annotations

from pydantic import Field

from tasks.params.linear_probe import LinearProbeParams
from tasks.params.section import Section


class AdaptParams(Section):
    method: LinearProbeParams = Field(LinearProbeParams(), description="The method and its settings.")
