"""Which items a person is asked to look at."""

from __future__ import annotations

from pydantic import Field

from tasks.params.section import Section


class ReviewParams(Section):
    max_items: int = Field(100, ge=0, description="Most items of each kind in the review list; 0 turns the review off.")
    folds: int = Field(5, ge=2, le=50, description="Folds of the cross-validation; groups stay together.")
    max_fitted_items: int = Field(
        20000, ge=100, description="The probe learns from no more items than this; the others are only predicted."
    )
    seed: int = Field(0, ge=0, description="Deals items to folds, and picks the fitted ones where there are more.")
