"""How an adapted model is measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params.section import Section

Baseline = Literal["majority", "raw_pixels"]


class EvaluateParams(Section):
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Level of every interval.")
    bootstrap_samples: int = Field(2000, ge=100, le=100_000, description="Resamples for the bootstrap intervals.")
    seed: int = Field(0, ge=0, description="Seed of the resampling.")
    baselines: list[Baseline] = Field(
        ["majority", "raw_pixels"], description="What the model is compared with: the largest class, raw pixels."
    )
