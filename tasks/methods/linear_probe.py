"""The linear probe: a linear head on frozen features, its strength chosen by grouped cross-validation. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.errors import DataError, StageInputError
from tasks.folds import ALWAYS_TRAINING, deal_folds
from tasks.logistic import LinearModel, fit_logistic
from tasks.methods.contract import Adaptation, DataNeed, LabelledFeatures, LinearHead
from tasks.metrics import AnyFloatMatrix, BoolVector, FloatMatrix, FloatVector, IntVector, log_loss
from tasks.params.linear_probe import LinearProbeParams
from tasks.principal_axes import PrincipalAxes, Standardisation
from tasks.reports.adaptation import StrengthScore
from tasks.ridge import RidgePath, logit_scale
from tasks.threads import one_blas_thread

STRONGEST, WEAKEST = 1e3, 1e-3
"""Ends of the grid of strengths, for features standardised to rows of length 1."""

DEFAULT_STRENGTH = 0.01
"""Used where nothing can be held out, such as one item per class."""

DEFAULT_RIDGE_LOGIT_SCALE = 5.0
"""Factor from ridge scores to logits where nothing can be held out."""

PATIENCE = 3
"""The search ends after so many weaker strengths in a row without a better out-of-fold loss."""

SEARCH_TOLERANCE, FINAL_TOLERANCE = 1e-4, 1e-8


@dataclass(frozen=True)
class _Problem:
    """What both heads learn from; `held` are the indices of the items that are scored out of fold."""

    features: FloatMatrix
    labels: IntVector
    groups: IntVector
    weight: FloatVector
    classes: int
    fold: IntVector
    held: IntVector


@dataclass(frozen=True)
class _Choice:
    """The chosen strength, the model of all items, and the out-of-fold logits of the held items."""

    strength: float
    model: LinearModel
    scores: list[StrengthScore]
    out_of_fold: FloatMatrix


class LinearProbe:
    """Multinomial logistic regression or ridge on standardised features."""

    name = "linear_probe"
    needs: frozenset[DataNeed] = frozenset({"source_labels"})

    def adapt(self, data: LabelledFeatures, params: LinearProbeParams) -> Adaptation:
        """Fit the head on all items, with the strength of least out-of-fold log-loss.

        Bit-identical for the same input on the same CPU, whatever the number of cores.

        Raises:
            DataError: fewer than two classes, or a class without an item.
            StageInputError: a feature is not finite.
        """
        import scipy.optimize  # noqa: F401  (its own BLAS must be loaded before it can be limited)

        _check(data)
        with one_blas_thread():
            return _adapt(data, params)


def strength_grid(count: int) -> FloatVector:
    """`count` strengths, equally spaced in their logarithm, strongest first; one alone is the default."""
    if count == 1:
        return np.array([DEFAULT_STRENGTH])
    return np.geomspace(STRONGEST, WEAKEST, count)


def class_weights(labels: IntVector, classes: int, scheme: str) -> FloatVector:
    """(items,) weights: all 1, or with `balanced` the same sum for every class; they add up to the items.

    Source: agrees with scikit-learn compute_sample_weight(class_weight="balanced").
    """
    if scheme == "none":
        return np.ones(len(labels))
    return np.asarray(len(labels) / (classes * np.bincount(labels, minlength=classes)))[labels]


def _check(data: LabelledFeatures) -> None:
    items = np.bincount(data.labels, minlength=data.classes)
    if data.classes < 2 or not items.all():
        raise DataError(f"a classifier needs two classes with items to learn from; items per class: {items.tolist()}")
    if not np.isfinite(data.features).all():
        row = int(np.flatnonzero(~np.isfinite(data.features).all(axis=1))[0])
        raise StageInputError(f"the features of fitted item {row} are not finite; run `graft adapt` (stage embed)")


def _adapt(data: LabelledFeatures, params: LinearProbeParams) -> Adaptation:
    features = data.features.astype(np.float64)
    standardisation = Standardisation.of(features)
    axes = PrincipalAxes.of(standardisation.apply(features))
    fold = deal_folds(data.labels, data.groups, params.folds, params.seed)
    weight = class_weights(data.labels, data.classes, params.class_weight)
    held = np.flatnonzero(fold != ALWAYS_TRAINING)
    problem = _Problem(axes.coordinates, data.labels, data.groups, weight, data.classes, fold, held)
    strengths = strength_grid(params.strengths) if len(held) else np.array([DEFAULT_STRENGTH])
    choice = (_choose_logistic if params.head == "logistic" else _choose_ridge)(problem, strengths)
    raw_weight, raw_bias = standardisation.fold_in(axes.turn_back(choice.model.weight), choice.model.bias)
    return Adaptation(
        kind=params.head,
        head=LinearHead(raw_weight.astype(np.float32), raw_bias.astype(np.float32)),
        strength=choice.strength,
        scores=choice.scores,
        scored=held,
        out_of_fold=choice.out_of_fold,
    )


def _choose_logistic(problem: _Problem, strengths: FloatVector) -> _Choice:
    starts: dict[int, LinearModel] = {}
    quick = problem.features.astype(np.float32)
    scores: list[StrengthScore] = []
    best, best_logits = 0, np.empty((0, problem.classes))
    for place, strength in enumerate(strengths if len(problem.held) else ()):
        logits = _out_of_fold(problem, quick, strength, starts)
        scores.append(_score(problem, strength, logits))
        if place == 0 or scores[place].loss < scores[best].loss:
            best, best_logits = place, logits
        elif place - best >= PATIENCE:
            break
    everyone, strength = np.ones(len(problem.labels), dtype=bool), float(strengths[best])
    rough = _fit(problem, quick, everyone, strength, None, SEARCH_TOLERANCE)
    model = _fit(problem, problem.features, everyone, strength, rough, FINAL_TOLERANCE)
    return _Choice(strength, model, scores, best_logits)


def _out_of_fold(
    problem: _Problem, features: AnyFloatMatrix, strength: float, starts: dict[int, LinearModel]
) -> FloatMatrix:
    """(held, classes) logits; `starts` keeps each fold's model, from which the next strength sets out."""
    logits = np.empty((len(problem.labels), problem.classes))
    for fold in np.unique(problem.fold[problem.held]):
        learn = problem.fold != fold
        starts[fold] = _fit(problem, features, learn, strength, starts.get(fold), SEARCH_TOLERANCE)
        logits[~learn] = starts[fold].logits(features[~learn])
    return logits[problem.held]


def _fit(
    problem: _Problem,
    features: AnyFloatMatrix,
    learn: BoolVector,
    strength: float,
    start: LinearModel | None,
    tolerance: float,
) -> LinearModel:
    labels, weight = problem.labels[learn], problem.weight[learn]
    return fit_logistic(features[learn], labels, weight, problem.classes, strength, start, tolerance)


def _choose_ridge(problem: _Problem, strengths: FloatVector) -> _Choice:
    path = RidgePath.of(problem.features, problem.labels, problem.weight, problem.classes, problem.groups)
    scores: list[StrengthScore] = []
    best, best_logits, best_scale = 0, np.empty((0, problem.classes)), DEFAULT_RIDGE_LOGIT_SCALE
    for place, strength in enumerate(strengths if len(problem.held) else ()):
        left_out = path.left_out(strength)[problem.held]
        scale = logit_scale(left_out, problem.labels[problem.held], problem.weight[problem.held])
        scores.append(_score(problem, strength, scale * left_out))
        if place == 0 or scores[place].loss < scores[best].loss:
            best, best_logits, best_scale = place, scale * left_out, scale
    model = path.model(strengths[best])
    return _Choice(
        float(strengths[best]), LinearModel(best_scale * model.weight, best_scale * model.bias), scores, best_logits
    )


def _score(problem: _Problem, strength: float, logits: FloatMatrix) -> StrengthScore:
    labels = problem.labels[problem.held]
    loss = log_loss(logits, labels, problem.weight[problem.held])
    return StrengthScore(strength=float(strength), loss=loss, accuracy=float(np.mean(logits.argmax(axis=1) == labels)))
