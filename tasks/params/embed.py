"""How frozen features are computed."""

from __future__ import annotations

from pydantic import Field

from tasks.params.section import Section


class EmbedParams(Section):
    batch_size: int = Field(
        4,
        ge=1,
        le=1024,
        description="Images per forward pass of one thread; small batches stay in the processor's cache.",
    )
