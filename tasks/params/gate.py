"""What a model must reach to be released."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params.champion import ChampionRule
from tasks.params.section import Section

JudgedOn = Literal["point", "lower_bound"]
ErrorJudgedOn = Literal["point", "lower_bound", "upper_bound"]


class Minimum(Section):
    """A least value, held against the point value or the interval's lower bound."""

    minimum: float = Field(0.0, ge=-1, le=1, description="The least value that passes.")
    judged_on: JudgedOn = Field("point", description="point, or lower_bound of the interval.")


class OptionalMinimum(Section):
    """A least value that is asked only where it is set."""

    minimum: float | None = Field(None, ge=-1, le=1, description="The least value that passes; null asks for none.")
    judged_on: JudgedOn = Field("point", description="point, or lower_bound of the interval.")


class Maximum(Section):
    """A greatest value of an error, held against the point value or either bound of its interval."""

    maximum: float | None = Field(None, ge=0, le=1, description="The greatest value that passes; null asks for none.")
    judged_on: ErrorJudgedOn = Field(
        "point",
        description="point; lower_bound refuses what is shown to be worse; upper_bound what is not shown to be better.",
    )


class GateParams(Section):
    accuracy: Minimum = Field(Minimum(minimum=0.8), description="Overall accuracy.")
    macro_f1: Minimum = Field(Minimum(minimum=0.8), description="Unweighted mean of the per-class F1.")
    class_recall: Minimum = Field(Minimum(minimum=0.5), description="Recall of the worst class.")
    min_test_items: int = Field(30, ge=1, description="Fewest test items that a judgement may rest on.")
    min_test_items_per_class: int = Field(5, ge=1, description="Fewest test items of any class.")
    gain_over_majority: Minimum = Field(
        Minimum(minimum=0.0, judged_on="lower_bound"), description="Accuracy gained over the largest class."
    )
    gain_over_raw_pixels: Minimum = Field(
        Minimum(minimum=0.0, judged_on="point"), description="Accuracy gained over logistic regression on raw pixels."
    )
    gain_over_linear_probe: OptionalMinimum = Field(
        OptionalMinimum(), description="Accuracy that a trained network gains over the linear probe."
    )
    gain_over_from_scratch: OptionalMinimum = Field(
        OptionalMinimum(), description="Accuracy gained over the same network from random weights: what transfer gives."
    )
    calibration_error: Maximum = Field(
        Maximum(maximum=0.05, judged_on="lower_bound"), description="Expected calibration error of the probabilities."
    )
    champion: ChampionRule = Field(ChampionRule(), description="The comparison with the model in production.")
