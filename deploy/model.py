"""One release in memory: checked, warm, and named by its version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.opened_release import FloatMatrix, OpenedRelease
from tasks.preprocess import UInt8Image
from tasks.reports.manifest import Manifest
from tasks.servable import open_servable


@dataclass(frozen=True)
class Outputs:
    """What a model gives for n images: (n, classes), (n, classes) and (n, width) float32."""

    probabilities: FloatMatrix
    logits: FloatMatrix
    embedding: FloatMatrix


@dataclass(frozen=True)
class Model:
    """A release that answers.

    Attributes:
        name: of the manifest; the model's name under /v2.
        version: the registry's number as text, or the digest's first twelve figures for a folder.
        digest: sha256 of the manifest.
    """

    name: str
    version: str
    digest: str
    manifest: Manifest
    opened: OpenedRelease
    card: str

    @property
    def labels(self) -> list[str]:
        return self.opened.labels

    def run(self, images: UInt8Image) -> Outputs:
        """Answer (n, crop, crop, 3) uint8 images."""
        return Outputs(*self.opened.outputs(images))


def load_model(
    folder: Path,
    version: str | None = None,
    digest: str | None = None,
    verify_key: Path | None = None,
    qualification: Path | None = None,
    max_batch: int = 1,
) -> Model:
    """Check a release as `tasks.servable` does, and warm it up.

    Args:
        digest, verify_key, qualification: as `open_servable` takes them.
        max_batch: images of the largest batch to come, whose memory is taken now.
    Raises:
        ReleaseError: it must not be served; the text says why.
    """
    servable = open_servable(folder, digest, verify_key, qualification)
    crop = servable.opened.preprocess.crop
    model = Model(
        name=servable.manifest.name,
        version=version or servable.digest[:12],
        digest=servable.digest,
        manifest=servable.manifest,
        opened=servable.opened,
        card=servable.card,
    )
    model.run(np.zeros((max_batch, crop, crop, 3), dtype=np.uint8))
    return model
