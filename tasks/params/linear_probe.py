"""Settings of the linear probe: a linear head on frozen features."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params.section import Section


class LinearProbeParams(Section):
    name: Literal["linear_probe"] = "linear_probe"
    head: Literal["logistic", "ridge"] = Field(
        "logistic", description="Logistic regression (L-BFGS), or ridge with exact leave-one-out."
    )
    strengths: int = Field(13, ge=1, le=50, description="How many regularisation strengths are tried.")
    folds: int = Field(5, ge=2, le=50, description="Folds of the cross-validation; groups stay together.")
    class_weight: Literal["none", "balanced"] = Field("none", description="balanced weighs classes equally.")
    fit_on_validation: bool = Field(
        True, description="The probe needs no validation set (it is tuned out of fold), so it may learn from it."
    )
    seed: int = Field(0, ge=0, description="Deals items to folds.")
