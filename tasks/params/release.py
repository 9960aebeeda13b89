"""How a model becomes a release: export, qualify and the store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params.section import PathText, Section

Precision = Literal["fp32", "int8"]


class Int8Params(Section):
    """What an int8 model must show to be released instead of the fp32 one; read where export.precision is int8."""

    calibration_items: int = Field(
        128, ge=8, le=1024, description="Items of the training set whose activations set the scales."
    )
    seed: int = Field(0, ge=0, description="Chooses those items, and the order in which latencies are measured.")
    accuracy_margin: float = Field(
        0.02, gt=0, le=0.2, description="Accuracy that int8 must be shown not to lose against fp32 on the test items."
    )
    macro_f1_margin: float = Field(
        0.02, gt=0, le=0.2, description="Macro-F1 that int8 must be shown not to lose against fp32 on the test items."
    )
    alpha: float = Field(
        0.05, gt=0, le=0.2, description="Chance of releasing an int8 model that is worse than fp32 by a margin."
    )
    min_speedup: float = Field(
        1.1, ge=0.5, le=10, description="Latency of fp32 / latency of int8, which its lower bound must reach."
    )
    max_size_ratio: float = Field(0.6, gt=0, le=2, description="Largest allowed size of the int8 model / that of fp32.")
    timing_rounds: int = Field(40, ge=10, le=1000, description="Times that each model is measured, in random order.")
    reduce_range: bool = Field(
        False, description="7-bit weights: for processors without VNNI, where 8-bit sums may overflow."
    )


class ExportParams(Section):
    name: str = Field(
        "image-classifier",
        pattern=r"^[^/\s][^/]*$",
        description="The model's name: card, manifest, tags, URLs (no slash).",
    )
    licence: str = Field("not stated", description="Licence of the released model, for its card.")
    precision: Precision = Field(
        "fp32", description="fp32; or int8, which is released where it is shown to be as good, faster and smaller."
    )
    int8: Int8Params = Field(Int8Params(), description="What int8 must show; without it fp32 is released.")


class QualifyParams(Section):
    max_probability_difference: float = Field(
        1e-4, gt=0, le=0.1, description="Largest allowed difference between the release and what was gated."
    )
    max_size_mb: float = Field(1000.0, gt=0, description="Largest allowed release, megabytes (10^6 bytes).")


class PublishParams(Section):
    """Where releases are kept, and what leaves the machine with them."""

    store: PathText = Field("releases", description="Folder of the release store.")
    git_remote: str = Field("origin", description="The git remote that run branches, tags and the state are pushed to.")
    dvc_remote: str | None = Field(None, description="The DVC remote for data, models and reports; null: the default.")
    attempts: int = Field(4, ge=1, le=20, description="Tries of a push before the run says that it was not pushed.")
    retry_seconds: float = Field(2.0, ge=0, le=600, description="Pause before the second try; doubled before each one.")
    signing_key: PathText | None = Field(
        None, description="Private key that releases are signed with (a file, never its content); null: not signed."
    )
    in_place_data: Literal["allow", "refuse"] = Field(
        "allow", description="Data outside of the checkout: published as not reproducible elsewhere, or refused."
    )


class PromotionParams(Section):
    """When a published version takes over production."""

    automatic: bool = Field(False, description="A run that publishes promotes its version where the verdict allows it.")
    equivalent: bool = Field(False, description="A version that is equivalent to the champion may be promoted, too.")
    approval: bool = Field(False, description="A person is asked in the Prefect UI before an automatic promotion.")
    approval_hours: float = Field(24.0, gt=0, le=720, description="How long is waited for the answer; none means no.")
