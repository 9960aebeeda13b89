"""Which items a person is asked to look at."""

from __future__ import annotations

from pydantic import Field

from tasks.params.section import Section


class ReviewParams(Section):
    max_items: int = Field(100, ge=0, description="Most items of each kind in the review list; 0 turns the review off.")
    max_fitted_items: int = Field(
        20000, ge=100, description="The probe learns from no more items than this; the others are only predicted."
    )
