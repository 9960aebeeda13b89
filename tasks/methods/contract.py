"""What every adaptation method takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tasks.metrics import FloatMatrix, IntVector
from tasks.params.section import Section
from tasks.reports.adaptation import StrengthScore
from tasks.threads import one_blas_thread

Float32Array = npt.NDArray[np.float32]
DataNeed = Literal["source_labels", "target_images", "pairs"]
ParamsT = TypeVar("ParamsT", bound=Section, contravariant=True)


@dataclass(frozen=True)
class LabelledFeatures:
    """Frozen features (items, width) float32 with labels (items,) in 0..classes-1 and group indices (items,)."""

    features: Float32Array
    labels: IntVector
    groups: IntVector
    classes: int


@dataclass(frozen=True)
class LinearHead:
    """weight (classes, width) and bias (classes,) in the space of the raw features; float32."""

    weight: Float32Array
    bias: Float32Array

    def logits(self, features: Float32Array) -> Float32Array:
        """(items, classes) float32 logits of (items, width) float32 features; the same bits on any number of cores."""
        with one_blas_thread():
            return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class Adaptation:
    """What a method learned.

    `scores` hold the out-of-fold figures of every strength that was tried; `out_of_fold` (scored, classes) are logits
    of the items `scored` (indices into the fitted items): those whose class is left when their group is held out.
    """

    kind: str
    head: LinearHead
    strength: float
    scores: list[StrengthScore]
    scored: IntVector
    out_of_fold: FloatMatrix


class Method(Protocol):
    """One way to learn from labelled data. Registered in tasks/methods/registry.py."""

    name: str
    needs: frozenset[DataNeed]


class FeatureMethod(Method, Protocol[ParamsT]):
    """Learns a head on frozen features."""

    def adapt(self, data: LabelledFeatures, params: ParamsT) -> Adaptation:
        """Learn; the same input gives the same bits.

        Raises:
            DataError: fewer than two classes, or a class without an item.
            StageInputError: a feature is not finite.
        """
        ...
