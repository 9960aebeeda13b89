"""Ridge classification with exact leave-one-out: closed form for every strength from one decomposition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.logistic import LinearModel
from tasks.metrics import FloatMatrix, FloatVector, IntVector, softmax
from tasks.principal_axes import PrincipalAxes

LOG_SCALE_BOUNDS = (-2.0, 8.0)
"""Natural logarithms between which the factor from ridge scores to logits is sought."""


MAX_STEPS, SCALE_TOLERANCE = 100, 1e-9


@dataclass(frozen=True)
class RidgePath:
    """Weighted ridge regression on one-hot targets (items, classes), ready to be solved for any strength.

    Minimises the weighted sum of squared errors plus strength times the squared norm; the bias is not penalised.
    """

    targets: FloatMatrix
    root_weight: FloatVector
    mean: FloatVector
    target_mean: FloatVector
    decomposed: PrincipalAxes
    members: list[IntVector]

    @classmethod
    def of(
        cls, features: FloatMatrix, labels: IntVector, item_weight: FloatVector, classes: int, groups: IntVector
    ) -> RidgePath:
        """Decompose (items, width) features once; items of one group (items,) are left out together."""
        targets, root = np.eye(classes)[labels], np.sqrt(item_weight)
        mean = np.average(features, axis=0, weights=item_weight)
        target_mean = np.average(targets, axis=0, weights=item_weight)
        decomposed = PrincipalAxes.of((features - mean) * root[:, None])
        _, group = np.unique(groups, return_inverse=True)
        members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
        return cls(targets, root, mean, target_mean, decomposed, [each for each in members if len(each) > 1])

    def model(self, strength: float) -> LinearModel:
        """The solution for a positive strength; its scores are near 1 for the true class, near 0 for others.

        Source: agrees with scikit-learn Ridge(alpha=strength).fit(features, one_hot, sample_weight=item_weight).
        """
        weight = self.decomposed.turn_back(self._along_axes(strength).T)
        return LinearModel(weight, self.target_mean - weight @ self.mean)

    def left_out(self, strength: float) -> FloatMatrix:
        """(items, classes) scores that each item gets from the model fitted without its group.

        Exact, with the weights of the other items unchanged: the residual of a left-out group is its ordinary residual
        times the inverse of (identity - its block of the hat matrix); a single item is the block of size one.
        Source: agrees with scikit-learn RidgeCV(store_cv_results=True) for groups of one.
        """
        coordinates, shrunk = self.decomposed.coordinates, self._shrinkage(strength)
        centred = self.root_weight[:, None] * (self.targets - self.target_mean)
        residual = centred - coordinates @ self._along_axes(strength)
        total = np.sum(self.root_weight**2)
        leverage = (coordinates * coordinates) @ shrunk + self.root_weight**2 / total
        left = residual / (1.0 - leverage)[:, None]
        for block in self.members:
            rows, root = coordinates[block], self.root_weight[block]
            left[block] = _without_itself(rows, shrunk, root / np.sqrt(total), residual[block])
        return np.asarray(self.targets - left / self.root_weight[:, None])

    def _shrinkage(self, strength: float) -> FloatVector:
        return 1.0 / (self.decomposed.variances + strength)

    def _along_axes(self, strength: float) -> FloatMatrix:
        """(rank, classes) solution along the axes."""
        centred = self.root_weight[:, None] * (self.targets - self.target_mean)
        return self._shrinkage(strength)[:, None] * (self.decomposed.coordinates.T @ centred)


def _without_itself(
    rows: FloatMatrix, shrunk: FloatVector, mean_root: FloatVector, residual: FloatMatrix
) -> FloatMatrix:
    """The inverse of (identity - the block's hat matrix) times the block's residual.

    A block of more items than axes is inverted along the axes (Woodbury), so that a group's size costs no cube.
    """
    if len(rows) <= rows.shape[1]:
        hat = (rows * shrunk) @ rows.T + np.outer(mean_root, mean_root)
        return np.asarray(np.linalg.solve(np.eye(len(rows)) - hat, residual))
    basis = np.column_stack([rows * np.sqrt(shrunk), mean_root])
    inner = np.linalg.solve(np.eye(basis.shape[1]) - basis.T @ basis, basis.T @ residual)
    return np.asarray(residual + basis @ inner)


def logit_scale(scores: FloatMatrix, labels: IntVector, weight: FloatVector) -> float:
    """The positive factor (inverse temperature) that turns scores into the logits of least log-loss.

    Args:
        scores: (items, classes) scores of items that their model has not seen.
        labels: (items,) true class indices.
        weight: (items,) weights of the items.
    Source: temperature scaling, Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """
    # Newton's steps on a convex function, halved within what still brackets the least; scipy costs a second to import.
    low, high = np.exp(LOG_SCALE_BOUNDS)
    given, scale = scores[np.arange(len(labels)), labels], 1.0
    for _ in range(MAX_STEPS):
        chances = softmax(scale * scores)
        mean = np.einsum("ic,ic->i", chances, scores)
        slope = weight @ (mean - given)
        curvature = weight @ (np.einsum("ic,ic->i", chances, scores * scores) - mean * mean)
        low, high = (low, scale) if slope > 0 else (scale, high)
        step = scale - slope / max(curvature, np.finfo(float).tiny)
        last, scale = scale, step if low < step < high else np.sqrt(low * high)
        if abs(scale - last) <= SCALE_TOLERANCE * scale:
            break
    return float(scale)
