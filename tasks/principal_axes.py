"""Features in the coordinates of their own principal axes: the exact shortcut for every L2-penalised linear model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.metrics import FloatMatrix, FloatVector

SMALLEST_VARIANCE = 1e-13
"""Axes whose share of the largest variance is below this are noise of the arithmetic."""


PRIOR_ITEMS = 3.0
"""How many items' worth of belief that a column varies as the average column does.

A handful of items can leave a column almost constant by chance, and dividing by that would blow up what it shows later.
With scikit-learn's digits and the bundled backbone this raised the probe from 0.781 to 0.791 at one label per class and
changed nothing from 20 labels on.
"""


@dataclass(frozen=True)
class Standardisation:
    """Per-column mean and inverse scale; where all columns are constant the inverse scale is 0."""

    mean: FloatVector
    inverse_scale: FloatVector

    @classmethod
    def of(cls, features: FloatMatrix) -> Standardisation:
        """Learn from (items, width) features that share one unit, as a network's features do.

        The scale holds the square root of the width too, so that a typical standardised row has length 1 and a
        regularisation strength means the same for every width.
        """
        items, width = features.shape
        mean, variance = features.mean(axis=0), features.var(axis=0)
        variance[np.ptp(features, axis=0) == 0] = 0.0
        steadied = (items * variance + PRIOR_ITEMS * variance.mean()) / (items + PRIOR_ITEMS)
        inverse = np.divide(1.0, np.sqrt(steadied * width), out=np.zeros_like(mean), where=steadied > 0)
        return cls(mean, inverse)

    def apply(self, features: FloatMatrix) -> FloatMatrix:
        """Standardised (items, width) features."""
        return (features - self.mean) * self.inverse_scale

    def fold_in(self, weight: FloatMatrix, bias: FloatVector) -> tuple[FloatMatrix, FloatVector]:
        """The (classes, width) weight and (classes,) bias that give the same logits from raw features."""
        raw = weight * self.inverse_scale
        return raw, bias - raw @ self.mean


@dataclass(frozen=True)
class PrincipalAxes:
    """`coordinates` (items, rank) of the items along `axes` (width, rank); `variances` (rank,) are sums of squares.

    With an L2 penalty the solution lies in the span of the items, so solving along the axes and turning back is exact,
    and costs min(items, width) instead of width unknowns.
    """

    coordinates: FloatMatrix
    axes: FloatMatrix
    variances: FloatVector

    @classmethod
    def of(cls, features: FloatMatrix) -> PrincipalAxes:
        """Axes of (items, width) features by the eigenvectors of the smaller Gram matrix."""
        items, width = features.shape
        wide = width > items
        variances, vectors = np.linalg.eigh(features @ features.T if wide else features.T @ features)
        kept = np.flatnonzero(variances > SMALLEST_VARIANCE * max(variances[-1], np.finfo(float).tiny))[::-1]
        variances, vectors = variances[kept], vectors[:, kept]
        if not wide:
            return cls(features @ vectors, vectors, variances)
        lengths = np.sqrt(variances)
        return cls(vectors * lengths, features.T @ (vectors / lengths), variances)

    def turn_back(self, weight: FloatMatrix) -> FloatMatrix:
        """(classes, rank) weight along the axes to (classes, width) weight of the features."""
        return weight @ self.axes.T
