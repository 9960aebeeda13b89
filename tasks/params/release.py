"""How a model becomes a release: export, qualify and the store."""

from __future__ import annotations

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
    store: PathText = Field("releases", description="Folder of the release store.")
