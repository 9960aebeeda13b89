"""How a model becomes a release: export, qualify and the store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params.section import PathText, Section


class ExportParams(Section):
    name: str = Field("image-classifier", description="The model's name in its card and manifest.")
    licence: str = Field("not stated", description="Licence of the released model, for its card.")


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
    in_place_data: Literal["allow", "refuse"] = Field(
        "allow", description="Data outside of the checkout: published as not reproducible elsewhere, or refused."
    )


class PromotionParams(Section):
    """When a published version takes over production."""

    automatic: bool = Field(False, description="A run that publishes promotes its version where the verdict allows it.")
    equivalent: bool = Field(False, description="A version that is equivalent to the champion may be promoted, too.")
    approval: bool = Field(False, description="A person is asked in the Prefect UI before an automatic promotion.")
    approval_hours: float = Field(24.0, gt=0, le=720, description="How long is waited for the answer; none means no.")
