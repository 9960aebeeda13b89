"""How long a stage may take, how often it is tried, and how a run logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params.section import Section


class FlowParams(Section):
    stage_timeout_seconds: float = Field(14400.0, gt=0, description="A stage that takes longer is ended.")
    retries: int = Field(1, ge=0, le=10, description="Further tries of a stage that crashed; never of a verdict.")
    retry_delay_seconds: float = Field(5.0, ge=0, le=3600, description="Pause before a further try.")
    log_format: Literal["text", "json"] = Field("text", description="Lines of a run: text, or one JSON object each.")
