"""Which method adapts the backbone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.params.linear_probe import LinearProbeParams
from tasks.params.section import Section
from tasks.params.training import FineTuneParams, FromScratchParams

MethodParams = Annotated[LinearProbeParams | FineTuneParams | FromScratchParams, Field(discriminator="name")]


class AdaptParams(Section):
    method: MethodParams = Field(LinearProbeParams(), description="The method and its settings.")
    keep_best: bool = Field(True, description="Keep the linear probe where training is no better, or cannot be judged.")
    from_scratch: Literal["auto", "always", "never"] = Field(
        "auto", description="Whether the same network is trained from scratch as a baseline; auto: where that is quick."
    )
    from_scratch_settings: FromScratchParams = Field(
        FromScratchParams(horizontal_flip=False), description="How that baseline is trained."
    )
