"""How items are divided into train, validation and test."""

from __future__ import annotations

from pydantic import Field

from tasks.params.section import Section, Share


class NearDuplicateParams(Section):
    max_hamming: int = Field(18, ge=0, le=64, description="Most differing bits of the two perceptual hashes (of 64).")
    min_cosine: float = Field(
        0.65, ge=-1, le=1, description="Least cosine of the whitened embeddings; more is asked where chance reaches it."
    )
    max_group_share: Share = Field(0.05, description="No chained group holds more than this share of a class.")


class SplitParams(Section):
    test_share: Share = Field(
        0.25, description="Share of the items held out for the test, unless an official split says."
    )
    validation_share: Share = Field(0.15, description="Share of the remaining items used for validation.")
    seed: int = Field(0, ge=0, description="Another seed, another split.")
    near_duplicates: NearDuplicateParams = Field(NearDuplicateParams(), description="When two images count as one.")
