"""Multinomial logistic regression with an L2 penalty, along principal axes, by preconditioned L-BFGS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.metrics import AnyFloatMatrix, FloatMatrix, FloatVector, IntVector, log_softmax

MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class LinearModel:
    """weight (classes, width) and bias (classes,): logits = features @ weight.T + bias."""

    weight: FloatMatrix
    bias: FloatVector

    def logits(self, features: AnyFloatMatrix) -> FloatMatrix:
        """(items, classes) logits of (items, width) features, multiplied in the features' precision."""
        products = features @ self.weight.T.astype(features.dtype, copy=False)
        return np.asarray(products + self.bias, dtype=np.float64)


def fit_logistic(
    features: AnyFloatMatrix,
    labels: IntVector,
    item_weight: FloatVector,
    classes: int,
    strength: float,
    start: LinearModel | None = None,
    tolerance: float = 1e-6,
) -> LinearModel:
    """Minimise the weighted sum of log-losses plus strength / 2 times the squared norm of the weight.

    Args:
        features: (items, width); fastest when the columns are uncorrelated (principal axes). float32 halves the time
            and is good for tolerances down to 1e-5.
        labels: (items,) indices in 0..classes-1.
        item_weight: (items,) positive weights of the items.
        strength: positive; the bias is not penalised.
        start: where to begin; zero where None.
        tolerance: largest gradient entry at the end, per item and in preconditioned coordinates.
    Source: agrees with scikit-learn LogisticRegression(C=1/strength) for three classes and more; with two classes
        scikit-learn penalises the difference of the two rows, so C = 2/strength there.
    """
    from scipy.optimize import minimize

    total, width = item_weight.sum(), features.shape[1]
    targets = np.eye(classes)[labels]
    begin = start or LinearModel(np.zeros((classes, width)), np.zeros(classes))
    scale = _preconditioner(features, item_weight, begin, strength)

    def objective(flat: FloatVector) -> tuple[float, FloatVector]:
        scaled = flat.reshape(classes, width + 1) * scale
        weight, bias = scaled[:, :-1], scaled[:, -1]
        logs = log_softmax(LinearModel(weight, bias).logits(features))
        loss = -item_weight @ logs[np.arange(len(labels)), labels] + 0.5 * strength * np.sum(weight * weight)
        residual = (np.exp(logs) - targets) * item_weight[:, None]
        slope = np.matmul(residual.T.astype(features.dtype, copy=False), features)
        gradient = np.column_stack([slope + strength * weight, residual.sum(axis=0)])
        return loss / total, (gradient * scale).ravel() / total

    first = np.column_stack([begin.weight, begin.bias]) / scale
    options = {"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "maxcor": 10, "gtol": tolerance, "ftol": 0.0}
    found = minimize(objective, first.ravel(), jac=True, method="L-BFGS-B", options=options)
    scaled = found.x.reshape(classes, width + 1) * scale
    return LinearModel(scaled[:, :-1], scaled[:, -1])


def _preconditioner(
    features: AnyFloatMatrix, item_weight: FloatVector, model: LinearModel, strength: float
) -> FloatMatrix:
    """(classes, width + 1) inverse square roots of the Hessian's diagonal at the model, bias last.

    Times the root of the total weight, so that the objective per item has curvature of about 1 along every axis.
    """
    chances = np.exp(log_softmax(model.logits(features)))
    uncertainty = (chances * (1.0 - chances) * item_weight[:, None]).T
    curvature = np.column_stack([uncertainty @ (features * features) + strength, uncertainty.sum(axis=1)])
    return np.asarray(np.sqrt(item_weight.sum() / np.maximum(curvature, np.finfo(float).tiny)))
