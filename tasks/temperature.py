"""The temperature: one number that makes the probabilities of a classifier honest and never changes its answer."""

from __future__ import annotations

import numpy as np

from tasks.metrics import AnyFloatMatrix, FloatMatrix, FloatVector, IntVector, log_softmax, softmax

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of the temperature."""

PRIOR_STRENGTH = 4.0
"""How strongly the temperature is held to 1: without items, its logarithm has a standard deviation of about 1/2."""

TOLERANCE, MAX_STEPS = 1e-10, 200


def fit_temperature(logits: AnyFloatMatrix, labels: IntVector, weight: FloatVector | None = None) -> float:
    """The number to divide logits by so that the softmax is calibrated: least log-loss, held to 1 where items are few.

    Minimises, over b = 1 / temperature, the sum of the log-losses of softmax(b * logits) plus
    PRIOR_STRENGTH * (b - 1 - log b). Both are convex, so there is one minimum. The second is a Gamma prior with its
    mode at b = 1: it outweighs a handful of items, keeps items without a mistake from driving the temperature to 0,
    and is nothing beside a few hundred items (docs/decisions/0020).

    Args:
        logits: (items, classes) of items that the model did not learn from.
        labels: (items,) true class indices.
        weight: (items,) weights of the items, each counting as so many; 1 where None.
    Returns:
        Temperature within COLDEST..HOTTEST; above 1 softens the probabilities, 1 without items.
    Raises:
        ValueError: shapes differ, a label is not within 0..classes-1, or a logit or weight is not finite.
    Source: Guo et al. 2017, "On calibration of modern neural networks", section 4.2.
    """
    items = np.ones(len(labels)) if weight is None else np.asarray(weight, dtype=np.float64)
    _check(logits, labels, items)
    if not len(labels):
        return 1.0
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    low, high, inverse = 1.0 / HOTTEST, 1.0 / COLDEST, 1.0
    for _ in range(MAX_STEPS):
        slope, curvature = _derivatives(inverse, shifted, labels, items)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature
        following = step if low < step < high else 0.5 * (low + high)
        if abs(following - inverse) <= TOLERANCE * inverse:
            break
        inverse = following
    return float(1.0 / inverse)


def calibrated_log_losses(logits: AnyFloatMatrix, labels: IntVector) -> FloatVector:
    """(items,) log-losses in nats at the temperature that suits these items, as of a model that is served calibrated.

    Args:
        logits: (items, classes) of items that the model did not learn from; where one is not finite every loss is nan.
        labels: (items,) true class indices.
    """
    if not np.isfinite(logits).all():
        return np.full(len(labels), np.nan)
    chances = log_softmax(logits.astype(np.float64) / fit_temperature(logits, labels))
    return np.asarray(-chances[np.arange(len(labels)), labels])


def _derivatives(inverse: float, logits: FloatMatrix, labels: IntVector, items: FloatVector) -> tuple[float, float]:
    """First and second derivative of the penalised sum of log-losses by the inverse temperature.

    By the inverse temperature a log-loss has the slope mean logit - logit of the label, and the variance of the logits
    as curvature, both under the model's own probabilities.
    """
    chances = softmax(inverse * logits)
    mean = (chances * logits).sum(axis=1)
    variance = (chances * (logits - mean[:, None]) ** 2).sum(axis=1)
    slope = (items * (mean - logits[np.arange(len(labels)), labels])).sum() + PRIOR_STRENGTH * (1.0 - 1.0 / inverse)
    return float(slope), float((items * variance).sum() + PRIOR_STRENGTH / inverse**2)


def _check(logits: AnyFloatMatrix, labels: IntVector, items: FloatVector) -> None:
    if logits.ndim != 2 or labels.shape != (len(logits),) or items.shape != labels.shape:
        raise ValueError(f"logits {logits.shape}, labels {labels.shape}, weight {items.shape}: not of the same items")
    if labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(f"label {labels.min()}..{labels.max()} is not within 0..{logits.shape[1] - 1}")
    if not np.isfinite(logits).all() or not np.isfinite(items).all() or (items < 0).any():
        raise ValueError("a logit or a weight is not finite, or a weight is negative")
