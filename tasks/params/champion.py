"""How a new model is judged against the one in production."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params.section import Section

Outcome = Literal["first", "better", "equivalent", "inconclusive", "incomparable", "worse", "unchanged"]
RefusedOutcome = Literal["equivalent", "inconclusive", "incomparable", "worse"]


class ChampionRule(Section):
    """The champion is what `prod` names; both models answer the same test items."""

    margin: float = Field(
        0.01, ge=0, le=0.2, description="Accuracy that may be lost against the champion and still count as equal."
    )
    alpha: float = Field(
        0.05,
        gt=0,
        le=0.2,
        description="Chance, over all decisions on one test set, of promoting a model that is worse by the margin.",
    )
    test_set_uses: int = Field(
        20, ge=1, le=1000, description="Decisions that one test set may make before a fresh one is asked for."
    )
    refuse: list[RefusedOutcome] = Field(
        ["worse"], description="Outcomes that are not published: worse, inconclusive, incomparable, equivalent."
    )
